"""What every DoFn stands on."""
