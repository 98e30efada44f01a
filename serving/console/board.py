"""Board: the parts of the console that the desk's process answers, and what is said where one cannot be done."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from serving.console.desk_line import DeskAnswer, DeskCall
from serving.console.pages import render

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartPage:
    """What a part shows: the template and its `values`; `text` is a message's key, filled with `words`.

    `detail`: what the engine says, in English.
    """

    template: str
    values: Mapping[str, Any]
    text: str = ""
    words: Mapping[str, object] | None = None
    detail: str = ""
    bad: bool = False


class BoardPart(Protocol):
    """One part of the console."""

    def look(self, call: DeskCall) -> PartPage: ...

    def act(self, call: DeskCall) -> PartPage:
        """What it looks like after the action; raises ValueError, OSError for what is refused, and why."""
        ...


class Board:
    """The parts by name."""

    def __init__(self, parts: Mapping[str, BoardPart]) -> None:
        self._parts = parts

    def answer(self, call: DeskCall) -> DeskAnswer:
        """The page of a call; what fails is said on it, and nothing of it is lost on the way."""
        part, status = self._parts[call.part], 200
        try:
            page = part.act(call) if call.action else part.look(call)
        except (ValueError, OSError, LookupError) as error:
            page, status = replace(self._after(part, call), detail=str(error.args[0] if error.args else error)), 409
            page = replace(page, text="refused", bad=True)
        except Exception:
            logger.exception("%s %s failed", call.part, call.action)
            page, status = PartPage("failed", {}, text="refused_failed", bad=True), 500
        name = page.template if call.in_part else "part_page"
        values = {**page.values, "page": page, "call": call}
        return DeskAnswer(render(name, call.view, **values), status)

    def _after(self, part: BoardPart, call: DeskCall) -> PartPage:
        """The part as it stands after what was refused."""
        try:
            return part.look(call)
        except (ValueError, OSError, LookupError):
            return PartPage("failed", {})
