"""A log's days as Spark reads them: rows with the file that they lie in, and their place there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from marketplace.parquet.days import SCHEMAS, day_files
from marketplace.slate_columns import plain
from marketplace.spark.session import parts

PLACE = ("file", "row")
Make = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def rows_of_days(spark: SparkSession, folder: Path, table: str, columns: Sequence[str]) -> DataFrame:
    """The columns of one of the log's tables, with PLACE: URI of the file, and number in it."""
    files = [str(file.resolve()) for file in day_files(folder, table)]
    schema = from_arrow_schema(pa.schema([(name, plain(SCHEMAS[table].field(name).type)) for name in columns]))
    if files:
        rows = spark.read.schema(schema).parquet(*files).select(*columns, "_metadata.file_path", "_metadata.row_index")
        return rows.toDF(*columns, *PLACE)
    return spark.createDataFrame([], schema.add("file", "string").add("row", "bigint"))


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def logged_keys(spark: SparkSession, folder: Path, column: str) -> tuple[str, ...]:
    """The names that slates hold in a map column, sorted."""
    keys = rows_of_days(spark, folder, "slates", [column]).select(F.explode(F.map_keys(column)).alias("key"))
    return tuple(sorted(row.key for row in keys.distinct().collect()))


def events_of_days(spark: SparkSession, folder: Path) -> list[str]:
    """The kinds of events that feedback holds."""
    return [
        row.event for row in rows_of_days(spark, folder, "feedback", ["event"]).select("event").distinct().collect()
    ]


def shoppers_of_days(spark: SparkSession, folder: Path) -> DataFrame:
    """(user_id) of everybody who was shown a slate."""
    return rows_of_days(spark, folder, "slates", ["user_id"]).select("user_id").distinct()


def map_batches(rows: DataFrame, make: Make, schema: pa.Schema, *, out: Path) -> int:
    """Write what `make` makes (`schema`) of the rows, on every core, to the new folder `out`; how many rows it is."""
    spark = rows.sparkSession
    spread = rows.repartition(parts(spark))
    spread.mapInArrow(make, from_arrow_schema(schema)).write.parquet(str(out.resolve()))
    return spark.read.parquet(str(out.resolve())).count()


def collect_batches(spark: SparkSession, rows: pa.Table, make: Make, schema: pa.Schema) -> list[dict[str, Any]]:
    """What `make` makes (`schema`) of the rows, a task a row."""
    spread = spark.createDataFrame(rows).repartition(len(rows))
    return [row.asDict() for row in spread.mapInArrow(make, from_arrow_schema(schema)).collect()]
