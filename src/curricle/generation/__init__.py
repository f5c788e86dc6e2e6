"""Text out of a model, in batches."""
