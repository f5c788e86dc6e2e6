"""Programs as answers: problems, the completions of a model or of a file, and the verdicts of running them."""
