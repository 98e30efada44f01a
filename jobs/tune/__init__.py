"""`value-model tune`: other weights for a run's policy, searched and judged on what its log holds."""
