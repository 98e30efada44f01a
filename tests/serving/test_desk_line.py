"""The line to the desk's process: a call is answered, whoever is away is said to be, and it starts when called."""

import socket
import sys
import threading

import pytest

from jobs.on_demand import started_on_demand
from serving.console.board import Board, PartPage
from serving.console.desk_line import DeskAway, DeskCall, DeskLine, DeskServer
from serving.console.messages import Language
from serving.console.pages import PageView

VIEW = PageView(Language.ARABIC, "served", "ops", "token")
ONE_ANSWER = """
import json, socket, sys
listener = socket.socket(fileno=int(sys.argv[-1]))
line, _ = listener.accept()
call = json.loads(line.makefile().readline())
line.sendall(json.dumps({"html": call["action"], "status": 201}).encode() + b"\\n")
"""


class Echo:
    """A part that answers with the form, and refuses what it is told to."""

    def look(self, call):
        return PartPage("answer", {}, "trial", {}, detail=f"<{call.person}>")

    def act(self, call):
        if call.action == "break":
            raise ZeroDivisionError
        raise ValueError(f"not {call.form['what']}")


@pytest.fixture
def line(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        server = DeskServer(listener, Board({"served": Echo()}).answer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield DeskLine(tmp_path / "socket")
        server.shutdown()


def test_a_call_is_answered_in_its_language_escaped_and_in_part(line):
    answer = line.answer(DeskCall("served", "", VIEW, "person", in_part=True))
    assert (answer.status, "قيد التجربة" in answer.html, "&lt;person&gt;" in answer.html) == (200, True, True)
    assert "<html" not in answer.html
    assert '<html lang="ar" dir="rtl">' in line.answer(DeskCall("served", "", VIEW, "person")).html


def test_what_is_refused_or_fails_is_said_on_the_page(line):
    refused = line.answer(DeskCall("served", "change", VIEW, "person", {"what": "there"}, in_part=True))
    assert (refused.status, "not there" in refused.html, 'role="alert"' in refused.html) == (409, True, True)
    failed = line.answer(DeskCall("served", "break", VIEW, "person", in_part=True))
    assert (failed.status, "ZeroDivisionError" in failed.html, "سجلّها" in failed.html) == (500, False, True)


def test_whoever_does_not_answer_is_away(tmp_path):
    for place in (None, tmp_path / "nothing"):
        with pytest.raises(DeskAway):
            DeskLine(place).answer(DeskCall("served", "", VIEW, "person"))


def test_the_process_starts_when_it_is_called_and_again_after_it_ended(monkeypatch):
    monkeypatch.setattr("jobs.on_demand.RESTART_SECONDS", 0.05)
    with started_on_demand([sys.executable, "-S", "-c", ONE_ANSWER]) as place:
        for action in ("first", "second"):
            answer = DeskLine(place).answer(DeskCall("served", action, VIEW, "person"))
            assert (answer.html, answer.status) == (action, 201)
        assert place.parent.stat().st_mode & 0o077 == 0
    assert not place.exists()
