"""What it is worth: rankers, calibration, the value formula, merchant value and slate policies."""
