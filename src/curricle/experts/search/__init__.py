"""Which expert in what share: weights searched by the held-out loss of every domain, without writing a model."""
