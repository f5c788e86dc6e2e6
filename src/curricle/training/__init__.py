"""The trainer mixin, checkpoints, monitors. The only room that may import TRL."""
