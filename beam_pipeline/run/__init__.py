"""One run, from acquiring its output to its exit code."""
