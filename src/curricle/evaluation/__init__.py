"""How good is a model? Metrics over held-out data."""
