"""One run, from the claim of its output to its exit code."""
