"""The log as Parquet files by day, which Spark, BigQuery and other engines read in parallel."""
