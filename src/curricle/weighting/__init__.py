"""Which token, how much? One interface over the flat table of supervised tokens."""
