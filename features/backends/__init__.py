"""Where a feature store's memories live, other than in the process: one file a system."""
