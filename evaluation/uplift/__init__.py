"""Uplift: what a treatment adds to an outcome, for whom, and what it is worth to treat them."""
