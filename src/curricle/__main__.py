"""`python -m curricle` is `curricle`."""

import sys

from .cli import main

sys.exit(main())
