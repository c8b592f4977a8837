"""What is finished, and whose it is."""
