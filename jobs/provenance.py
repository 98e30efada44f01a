"""Provenance of a run: the commit of the program, and how each fit went."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent.parent
LOSSES = "losses.json"  # in retrieval/ and ranker/: losses by epoch, the settings of the fit, and what it learned
TRAINED_UNTIL = "trained_until"


def commit() -> str | None:
    """The checked-out commit of the program, with "+changes" where files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(SOURCES), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != SOURCES:
            return None  # installed inside somebody else's checkout
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def keep_losses(folder: Path, history: Any, *, until: int, **settings: Any) -> None:
    """Write what a fit returned, a dataclass, the dataclasses that it was configured with, and the end (UTC
    microseconds) of what it learned from."""
    configured = {name: asdict(setting) for name, setting in settings.items()}
    content = {"losses": asdict(history), "settings": configured, TRAINED_UNTIL: until}
    (folder / LOSSES).write_text(json.dumps(content, indent=1, default=str) + "\n")
