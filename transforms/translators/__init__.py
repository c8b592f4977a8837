"""One file a translator."""
