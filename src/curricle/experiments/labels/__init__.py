"""How hard examples are: label files, made by a command or by the run that goes by them, and how far to trust them."""
