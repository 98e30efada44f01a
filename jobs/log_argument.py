"""A command's argument that names a log, by its file or by its address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from marketplace.log_place import Place, is_address, may_exist


class LogArgument(click.Path):
    """The path of a file that is there (or, with `folders`, of a folder), or an address (SYSTEM://...).

    `new`: it need not be there yet.
    """

    name = "log"

    def __init__(self, *, folders: bool = False, new: bool = False) -> None:
        super().__init__(path_type=Path, dir_okay=folders, exists=not new)
        self._new = new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if is_address(value):
            if not self._new and not may_exist(value):
                self.fail(f"{value} does not exist: `value-model load-log` makes it.", param, ctx)
            return value
        place: Place = super().convert(value, param, ctx)  # type: ignore[assignment]
        return place
