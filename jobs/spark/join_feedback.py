"""Join a log's days into training rows on Spark: the rows of `value-model join-feedback`, a file a file of slates."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from jobs.join_feedback import LoggedNames, training_rows
from jobs.tables import print_counts
from marketplace.attribution import Attribution
from marketplace.parquet.days import day_files, write_whole
from marketplace.spark.attribution import attribute_files
from marketplace.spark.days import logged_keys
from marketplace.spark.session import spark_session

ABOUT, ROWS = "joined.json", "rows"


@dataclass(frozen=True)
class RowsWriter:
    """Writes the rows of a file of slates to OUT/rows/day=.../rows-NAME.parquet."""

    out: Path
    names: LoggedNames

    def __call__(self, labelled: Attribution, feedback: pa.Table, file: Path) -> int:
        rows = training_rows(labelled.slates, labelled.labels, names=self.names)
        write_whole(rows, self.out / ROWS / file.parent.name / f"{ROWS}-{file.name}")
        return len(rows)


def join_feedback(folder: Path, *, out: Path, master: str | None) -> None:
    """Write the rows of the days in `folder` to `out`, and joined.json when all are there; print where events went."""
    if not day_files(folder, "slates"):
        raise ValueError(f"{folder} holds no slates: `value-model load-log LOG parquet://{folder}` writes them.")
    (out / ABOUT).unlink(missing_ok=True)
    with spark_session(master, name="join-feedback") as spark:
        names = LoggedNames(*(logged_keys(spark, folder, column) for column in ("predictions", "numeric")))
        joined = attribute_files(spark, folder, RowsWriter(out.resolve(), names))
    written = {f"{file.parent.name}/{ROWS}-{file.name}" for file in joined.files}
    for file in day_files(out, ROWS):
        if f"{file.parent.name}/{file.name}" not in written:
            file.unlink()  # of a former join
    about = {
        "log": str(folder.resolve()),
        "slates": joined.slates,
        "rows": joined.rows,
        "counts": asdict(joined.counts),
    }
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    print_counts(joined.counts)
    print(f"wrote {out}: {joined.rows:,} rows of {joined.slates:,} slates")
