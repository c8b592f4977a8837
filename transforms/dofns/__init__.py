"""What every DoFn is built on."""
