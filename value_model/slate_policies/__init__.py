"""Randomised and constrained ways from values to a slate, each with exact propensities."""
