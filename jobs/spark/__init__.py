"""What is large, on Spark: one file a job."""
