"""Line to the desk: the process beside the workers that does the console's slow work; JSON over a Unix socket.

Evidence of thousands of requests, searches, and trial runs of what is published stay out of the processes that rank.
One line is sent and one comes back: a call is a page or an action of a part of the console, the answer is its HTML.
"""

from __future__ import annotations

import json
import socket
import socketserver
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serving.console.messages import Language
from serving.console.pages import PageView

PATIENCE = 20.0  # seconds, below the time-out of a worker
LONGEST = 4 << 20  # bytes of a line


class DeskAway(RuntimeError):
    """Nobody answers on the line."""


@dataclass(frozen=True)
class DeskCall:
    """`action` of a `part`, "" = look at it; `person` is whose draft it is; `in_part` = only a part is swapped."""

    part: str
    action: str
    view: PageView
    person: str
    form: Mapping[str, str] = field(default_factory=dict)
    in_part: bool = False


@dataclass(frozen=True)
class DeskAnswer:
    """HTML, and the HTTP status under which it goes."""

    html: str
    status: int = 200


@dataclass(frozen=True)
class DeskLine:
    """The socket at `place`, None = the service was started without a desk."""

    place: Path | None

    def answer(self, call: DeskCall) -> DeskAnswer:
        """Raises DeskAway."""
        if self.place is None:
            raise DeskAway("the service was started without a desk; `value-model serve RUN` starts both")
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE)
                line.connect(str(self.place))
                line.sendall(json.dumps(asdict(call)).encode() + b"\n")
                with line.makefile("rb") as answer:
                    return DeskAnswer(**json.loads(answer.readline(LONGEST)))
        except (OSError, ValueError, TypeError) as error:
            raise DeskAway(f"the desk does not answer ({error or type(error).__name__}); try again") from error


class DeskServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Answers the calls on a listening socket, each in a thread."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, answer: Callable[[DeskCall], DeskAnswer]) -> None:
        self.socket, self._answer = listener, answer
        super().__init__(listener.getsockname(), lambda *_: None)  # type: ignore[arg-type]

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[Any, Any]:
        return self.socket.accept()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(PATIENCE)
        with request, request.makefile("rb") as line:
            answer = self._answer(_call(json.loads(line.readline(LONGEST))))
            request.sendall(json.dumps(asdict(answer)).encode() + b"\n")


def _call(content: dict[str, Any]) -> DeskCall:
    view = content.pop("view")
    return DeskCall(view=PageView(**{**view, "language": Language(view["language"])}), **content)
