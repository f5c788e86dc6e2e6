"""What tokens are worth that are seen again: epochs that still pay, and synthetic tokens beside real ones."""
