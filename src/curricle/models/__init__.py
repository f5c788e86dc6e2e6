"""What is done to a model: attention over packed rows, the head tap, loading, nano models."""
