"""The tuning desk in the console: a draft is moved, judged, searched and saved, over a toy market."""

import re
import threading
import time
from datetime import UTC, datetime

import pytest
from desk_toy import toy

from desk.versions import Versions
from serving.console.board import Board
from serving.console.desk_line import DeskCall
from serving.console.desk_part import DeskPart
from serving.console.messages import Language
from serving.console.pages import PageView

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Person:
    """Calls of one person; `part` = only a part of the page is swapped."""

    def __init__(self, part, name="p", language=Language.ENGLISH):
        self.board, self.name, self.language = Board({"desk": part}), name, language

    def __call__(self, action="", part=True, **form):
        form = {name.replace("__", "."): str(value) for name, value in form.items()}
        view = PageView(self.language, "desk", "ops", "token")
        return self.board.answer(DeskCall("desk", action, view, self.name, form, part))

    def until(self, words, **form):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if words in (html := self(**form).html):
                return html
            time.sleep(0.02)
        raise AssertionError(html)


@pytest.fixture
def part(tmp_path):
    return DeskPart(lambda: toy(tmp_path, requests=200), clock=lambda: NOW)


@pytest.fixture
def person(part):
    person = Person(part)
    person.until("w-w_click")
    return person


def number(html, weight):
    return re.search(rf'id="w-{weight}"[^>]*value="([^"]*)"', html)[1]


def test_evidence_is_loaded_when_it_is_called_for_and_its_progress_is_shown(tmp_path):
    read = threading.Event()
    person = Person(DeskPart(lambda: toy(tmp_path, requests=200) if read.wait(20) else None, clock=lambda: NOW))
    first = person(part=False).html
    assert "Reading the requests on record" in first
    assert "<progress" in first
    read.set()
    assert "w-w_click" in person.until("w-w_click")
    empty = Person(DeskPart(lambda: None, clock=lambda: NOW))
    assert "no run and no log" in empty.until("no run and no log")


def test_a_moved_weight_changes_lists_metrics_and_what_would_be_published(person):
    answer = person("move", w__w_click="2", w__w_new="3")
    assert answer.status == 200
    assert 'class="moved"' in answer.html
    assert 'id="state-w_click" class="state" hx-swap-oob="true"' in answer.html
    assert "w_click 1 -&gt; 2; w_new 0.05 -&gt; 3" in answer.html
    assert "&lt;b&gt;item&lt;/b&gt;" in answer.html
    assert "<b>item" not in answer.html
    assert 'class="light ' in answer.html
    page = person().html
    assert (number(page, "w_click"), number(page, "w_new")) == ("2", "3")
    assert number(person("restore", weight="w_click").html, "w_click") == "1"


def test_what_lies_outside_its_bounds_is_said_and_not_taken(person):
    for text, reason in (("70", "w_click lies between 0.1 and 10: 70 is not taken"), ("nine", "could not convert")):
        answer = person("move", w__w_click=text)
        assert (answer.status, reason in answer.html, 'id="results"' in answer.html) == (409, True, False)
    assert number(person().html, "w_click") == "1"
    assert person("dance").status == 409


def test_a_surface_has_weights_of_its_own(person):
    page = person(scope="surface search").html
    assert 'aria-current="true">Search' in page
    person("move", w__w_click="3")
    assert "/desk/follow" in person().html
    assert number(person(scope="everywhere").html, "w_click") == "1"


def test_each_person_has_a_draft_of_their_own_and_few_are_kept(part, person, monkeypatch):
    person("move", w__w_click="2")
    assert number(Person(part, "other").until("w-w_click"), "w_click") == "1"
    assert number(person().html, "w_click") == "2"
    monkeypatch.setattr("serving.console.desk_part.MOST_DESKS", 1)
    Person(part, "third")()
    assert number(person().html, "w_click") == "1"


@pytest.mark.slow
def test_a_front_is_searched_beside_and_a_point_is_loaded(person, monkeypatch):
    assert person("search", across="ctr", up="ctr").status == 409
    assert "Searching: " in person("search", across="newcomer_exposure", up="ctr").html
    front = person.until("<circle", pane="front")
    assert "Shadow prices" in front
    point = re.findall(r'name="point" value="(\d+)"', front)[-1]
    page = person("load", point=point).html
    assert "The point&#39;s weights are in the draft" in page
    assert "/desk/restore" in page
    assert person("load", point="").status == 409


def test_a_version_is_checked_and_saved_with_who_and_why_and_all_is_in_arabic_too(part, person, tmp_path):
    person("move", w__w_click="2")
    assert 'class="note' in person("check").html
    refused = person("save", owner="", reason="", share="100")
    assert (refused.status, "needs an owner and a reason" in refused.html) == (409, True)
    saved = person("save", owner="ranking", reason="Clicks matter.", share="100", despite="on")
    assert (saved.status, "Version 2" in saved.html) == (200, True)
    record = Versions(tmp_path / "policies").entries()[-1]
    assert (record.owner, record.key, record.file) == ("ranking", "ops", "0002.toml")
    behind = Person(part, "other", Language.ARABIC)
    arabic = behind().html
    assert "طاولة" in behind(part=False).html
    assert "الضابط" in arabic
    assert "w_click" in person("influence").html
    assert "%" in person("guard", **{"ctr, relative change at least": "-3"}).html


def test_a_change_of_a_share_is_in_points_and_a_relative_change_in_per_cent(person):
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", person(part=False).html))
    assert "relative change ≥ -1 %" in words  # of ctr
    assert "change of share of attention: new merchants at least (percentage points)" in words
    assert re.search(r": change ≥ -1 percentage points", words)  # of newcomer_exposure
