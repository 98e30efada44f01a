"""A session of Spark: in this process (local[*]), on a master (spark://HOST:PORT), or as spark-submit has it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.errors import PythonException
from pyspark.sql import SparkSession

PARTS = 4  # a core, so that cores end together
SHUFFLE = "spark.sql.shuffle.partitions"
SUBMITTED = "PYSPARK_GATEWAY_PORT"  # a variable that spark-submit sets
Settings = dict[str, bool | float | int | str | None]
SETTINGS: Settings = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.adaptive.enabled": "false",  # it plans by bytes, without those that a task reads by itself
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
ON_THIS_MACHINE = ("local", "spark://127.0.0.1:", "spark://localhost:")
OF_ONE_MACHINE: Settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}


@contextmanager
def spark_session(master: str | None, *, name: str) -> Iterator[SparkSession]:
    """The session, which ends with the block; `master` None = that of spark-submit, or else this machine's cores.

    Raises ValueError where Java is missing, and for what a task refuses, in its words.
    """
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise ValueError("Spark needs Java 17 or later: on Debian, `apt-get install openjdk-17-jre-headless`.")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name).config(map=SETTINGS)
    if SUBMITTED not in os.environ:
        builder = builder.master(master or "local[*]")
        if master is None or master.startswith(ON_THIS_MACHINE):
            builder = builder.config(map=OF_ONE_MACHINE)
    elif master is not None:
        raise ValueError("--master is spark-submit's own option: name it there.")
    spark = builder.getOrCreate()
    if spark.sparkContext.getConf().get(SHUFFLE) is None:
        spark.conf.set(SHUFFLE, str(parts(spark)))
    try:
        yield spark
    except PythonException as error:
        raise ValueError(_refusal(str(error))) from error
    finally:
        spark.stop()


def parts(spark: SparkSession) -> int:
    """How many tasks a stage is cut into."""
    return PARTS * spark.sparkContext.defaultParallelism


def _refusal(trace: str) -> str:
    """What a task raised: the last line of its traceback."""
    lines = [line.strip() for line in trace.splitlines()]
    raised = [line for line in lines if line.partition(":")[0].endswith("Error")]
    return raised[-1].partition(": ")[2] if raised else trace
