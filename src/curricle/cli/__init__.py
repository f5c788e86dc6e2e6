"""The command line: parse, call one public function, print."""

from .app import main

__all__ = ["main"]
