"""What a first run needs and nobody has to fetch: made-up rows, and small models that have read them."""
