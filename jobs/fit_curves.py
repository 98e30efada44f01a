"""Curves of a fit by epoch, as TensorBoard event files: a folder a period, so that both are drawn in one chart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Watch = Callable[[int, Mapping[str, Mapping[str, float]]], None]  # epoch, period -> curve -> value
CURVES = "tensorboard"  # the folder of a run


class FitCurves:
    """Writes `folder`/PERIOD/events...; `anew`: the fit starts from nothing, and what an earlier one wrote is gone.

    `watch` sees each epoch's curves too, and may end the fit by raising.
    """

    def __init__(self, folder: Path, *, anew: bool, watch: Watch | None = None) -> None:
        self._folder, self._watch, self._writers = folder, watch, dict[str, Any]()
        if anew:
            shutil.rmtree(folder, ignore_errors=True)

    def write(self, epoch: int, curves: Mapping[str, Mapping[str, float]]) -> None:
        """One point a curve; on disk before the next epoch begins."""
        from features.keras2 import tensorflow as tf

        for period, values in curves.items():
            if period not in self._writers:
                self._writers[period] = tf.summary.create_file_writer(str(self._folder / period))
            with self._writers[period].as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step=epoch)
            self._writers[period].flush()
        if self._watch:
            self._watch(epoch, curves)
