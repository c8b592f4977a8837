"""Committed work, the lease on an output, and the ownership of files."""
