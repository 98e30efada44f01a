"""What happened: slates, feedback, the log that keeps them, data sets, and a simulated market."""
