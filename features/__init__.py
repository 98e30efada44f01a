"""What was known: feature definitions, point-in-time statistics, the online store and the encoders."""
