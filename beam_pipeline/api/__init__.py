"""The call from Python."""
