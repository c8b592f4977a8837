"""Listing the inputs, and the ids and names of recordings."""
