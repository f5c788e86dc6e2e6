"""A few prompts, the answers of several models side by side, and points for them by a person or a judge model."""
