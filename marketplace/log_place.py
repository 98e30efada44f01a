"""Log place: the path of an SQLite file, or an address (SYSTEM://...) of the system that keeps the log.

`run=FOLDER` in an address's query names the run or service whose bundles answered.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Place = Path | str  # an address is a str: a Path would swallow one of its slashes


def is_address(place: Place) -> bool:
    return isinstance(place, str) and "://" in place


def is_log(place: Place) -> bool:
    """Whether it names a log rather than a run's folder or a data set."""
    return is_address(place) or Path(place).suffix == ".sqlite"


def may_exist(place: Place) -> bool:
    """Whether a log can be there: of a server that tells only when it is opened."""
    parts = urlsplit(str(place)) if is_address(place) else None
    return bool(parts and parts.netloc) or Path(parts.path if parts else place).exists()


def home_of(place: Place) -> Path:
    """The folder of the run or service that a log belongs to: its bundles stand there, and pages are written there.

    The file's folder, what an address names by `run=`, or else the folder beside its path (SYSTEM:///PATH). Raises
    ValueError where an address says neither.
    """
    if not is_address(place):
        return Path(place).parent
    parts = urlsplit(str(place))
    if run := parse_qs(parts.query).get("run"):
        return Path(run[-1])
    if parts.netloc or not parts.path:
        raise ValueError(f"{shown_place(place)} does not say which run it belongs to: add ?run=FOLDER to the address.")
    return Path(parts.path).parent


def shown_place(place: Place) -> str:
    """The place as text, without the password of an address."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", str(place))
