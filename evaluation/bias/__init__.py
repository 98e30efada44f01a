"""Position bias: click models, propensities of places, and what they correct."""
