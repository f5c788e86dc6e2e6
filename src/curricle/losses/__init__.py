"""Per-token losses without full logits, and the one rule of reduction. Pure tensor functions."""
