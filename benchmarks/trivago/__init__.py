"""What the trivago benchmarks share."""
