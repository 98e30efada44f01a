"""Monitoring: what a day of the log looks like, how that differs from the days before it, and what that points to."""
