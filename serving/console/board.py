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
    status: int = 200


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
        """The page of a call; what is refused or fails is said on it."""
        try:
            return self._answer(call)
        except Exception:
            logger.exception("%s %s failed", call.part, call.action)
            return _rendered(PartPage("failed", {}, text="refused_failed", bad=True, status=500), call)

    def _answer(self, call: DeskCall) -> DeskAnswer:
        part = self._parts[call.part]
        try:
            page = part.act(call) if call.action else part.look(call)
        except (ValueError, OSError, LookupError) as error:
            detail = str(error.args[0] if error.args else error)
            page = replace(self._after(part, call), text="refused", detail=detail, bad=True, status=409)
        return _rendered(page, call)

    def _after(self, part: BoardPart, call: DeskCall) -> PartPage:
        """The part as it stands after what was refused."""
        try:
            return part.look(call)
        except (ValueError, OSError, LookupError):
            return PartPage("failed", {})


def _rendered(page: PartPage, call: DeskCall) -> DeskAnswer:
    values = {**page.values, "page": page, "call": call}
    return DeskAnswer(render(page.template if call.in_part else "part_page", call.view, **values), page.status)
