"""The desk's pages: every text is escaped, whoever wrote it, and every template is some page's."""

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from desk_toy import toy

from desk import pages
from desk.desk import Desk
from desk.guardrails import GuardrailResult, GuardrailStatus
from desk.markup import TEMPLATES, figure, percent
from value_model.tuning import BoundKind, Constraint

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
NASTY = "<script>\"'&"


class Tags(HTMLParser):
    """All elements and texts of a page; raises AssertionError where they are not nested."""

    VOID = frozenset({"col"})

    def __init__(self, page):
        super().__init__()
        self.opened, self.names, self.texts = [], set(), []
        self.feed(page)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.texts += [value for _, value in attributes if value]
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def nasty_desk(tmp_path):
    """Whatever a person or a catalogue can name bears markup."""
    material = toy(tmp_path)
    names = replace(
        material.names,
        items=np.full(len(material.names.items), NASTY),
        merchants=np.full(len(material.names.merchants), NASTY),
        titles=np.full(len(material.names.titles), NASTY, object),
    )
    held = (Constraint("ctr", at_least=-0.01, of=BoundKind.RELATIVE, owner=NASTY, reason=NASTY),)
    weights = tuple(replace(w, owner=NASTY, reason=NASTY) for w in material.policy.weights)
    desk = Desk(replace(material, names=names, policy=replace(material.policy, weights=weights, constraints=held)))
    desk.move({"w_new": 0.06})
    desk.save(NASTY, NASTY, now=NOW, despite=True)
    desk.move({"w_new": 2.0})
    return desk


def every_page(desk):
    view = desk.view()
    view = replace(view, slates=tuple(replace(slate, labels=(NASTY, NASTY)) for slate in view.slates))
    red = GuardrailResult(Constraint("ctr", at_least=0.0), GuardrailStatus.RED, NASTY)
    report = replace(desk.check(), guardrails=(red,))
    owners = {w.name: (w.owner, w.reason) for w in desk.draft.weights}
    influences = [replace(one, label=NASTY) for one in desk.influence()]
    return {
        "slates": pages.slates(view, unit=NASTY),
        "outlook": pages.outlook(replace(view, guardrails=(red,)), currency=NASTY),
        "money": pages.money(replace(view, money=dict.fromkeys(view.weights, NASTY)), owners),
        "influence": pages.influence(influences, places=4),
        "checks": pages.checks(report),
        "difference": pages.difference(f"+{NASTY}\n-{NASTY}"),
        "history": pages.history(desk.history()),
        "messages": pages.messages(NASTY, kind="bad"),
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return every_page(nasty_desk(tmp_path_factory.mktemp("desk")))


@pytest.mark.parametrize(
    "name", ["slates", "outlook", "money", "influence", "checks", "difference", "history", "messages"]
)
def test_texts_are_escaped_and_read_as_they_were_written(rendered, name):
    tags = Tags(rendered[name])
    assert "script" not in tags.names
    assert any(NASTY in text for text in tags.texts)


def test_the_page_of_a_search_is_nested(tmp_path):
    explored = Desk(toy(tmp_path)).explore(("newcomer_exposure", "ctr"))
    assert "everywhere" in " ".join(Tags(pages.prices(explored, currency="SAR")).texts)


def test_every_template_is_a_page_or_a_part_of_one(rendered):
    parts = {"page", "parts", "style"}
    files = {name.split(".")[0] for name in TEMPLATES.list_templates()}
    assert files == {*rendered, "prices", *parts}
    assert {Path(name).suffix for name in TEMPLATES.list_templates()} == {".jinja"}


def test_a_bar_is_as_long_as_its_share_of_the_longest_item(tmp_path):
    view = Desk(toy(tmp_path)).move({"w_new": 2.0})
    page = pages.slates(view, unit="SAR")
    for slate in view.slates:
        for item in (*slate.before, *slate.after):
            for term in item.terms:
                assert f'title="{term:+.4g}" style="width:{130 * abs(term) / slate.longest:.1f}px' in page


def test_figures():
    assert [figure(x) for x in (1234.2, 12.0, 0.012344, 100.0)] == ["1,234", "12.00", "0.01234", "100.0"]
    assert [percent(x) for x in (0.0125, -1.0, float("nan"), float("inf"))] == ["+1.25 %", "-100.00 %", "–", "–"]
