"""Experiments: their reviewed definition, who is in which variant, and what came of it."""
