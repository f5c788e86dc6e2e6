"""The letters between the user's process and a worker."""

PROGRAM, TESTED, KILL = b"S", b"P", b"K"
