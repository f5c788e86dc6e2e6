"""How loss falls with parameters and tokens: a law fitted to the user's own runs, and what it says of a budget."""
