"""The same as `benchmarks.spark`, on 20 million impressions: a quarter of an hour on two cores."""

from benchmarks.spark import main

if __name__ == "__main__":
    main("spark_large", days=40)
