"""What every room stands on: files, run directories, ranks, seeds, caches, progress. Knows no model and no data."""
