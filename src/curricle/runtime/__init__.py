"""What every room stands on: files, run directories, ranks, seeds, caches, progress. Knows nothing of models or data."""
