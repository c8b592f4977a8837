"""What counts as input, and what it is called."""
