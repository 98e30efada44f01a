"""Spark, for what is large: over a log's Parquet files by day. The one place that names it."""

try:
    import pyspark as pyspark
except ImportError as error:
    raise ValueError("Spark is not installed: install it with `pip install value-model[spark]`.") from error
