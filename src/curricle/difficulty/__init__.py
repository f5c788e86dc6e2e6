"""How hard is each example? The gap between two models, layer by layer, and simpler measures beside it."""
