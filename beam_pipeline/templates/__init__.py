"""What starts a job where there is no Python."""
