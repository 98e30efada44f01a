"""What would another policy have earned: estimators over logs with propensities, their diagnostics and intervals."""
