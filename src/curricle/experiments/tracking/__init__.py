"""Runs as others keep them: what a run folder tells, and MLflow, which is told it."""
