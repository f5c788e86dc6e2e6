"""Arms beside each other: intervals, compute, progress, checks."""
