"""Exports as pandas writes them, and a few odd rows among many: read, with what was left out counted."""

import pandas as pd
import pytest
from made_shop import MAPPING, shop_rows, write_shop

from marketplace.datasets.own import load_own, read_own
from marketplace.finding import DataError, errors


@pytest.fixture
def shop(tmp_path):
    """The mapping of a shop whose events are Parquet, and a function that writes these from a frame."""
    files = shop_rows(80)
    path = write_shop(tmp_path, files, mapping=MAPPING.replace("events.csv", "events.parquet"))
    head, *rows = files["events.csv"]
    events = pd.DataFrame(rows, columns=head)
    events["total"] = pd.to_numeric(events["total"])

    def write(changed: pd.DataFrame) -> None:
        changed.to_parquet(tmp_path / "events.parquet")

    return path, events, write


def amounts(path):
    return read_own(path).feedback["amount"].to_pylist()


def test_a_missing_amount_is_nan_there(shop):
    path, events, write = shop
    write(events)
    assert events["total"].isna().sum() == 80
    assert amounts(path).count(None) == 80
    assert not errors(load_own(path, now=None)[1])


def test_a_few_odd_amounts_are_left_out_and_many_are_an_error(shop):
    path, events, write = shop
    write(events.assign(total=events["total"].where(events.index != 5, -3.0)))
    assert len(events) == 120
    assert len(amounts(path)) == 119
    (finding,) = [finding for finding in load_own(path, now=None)[1] if finding.where.part == "column total"]
    assert (finding.severity, finding.where.row) == ("warning", 6)
    assert "-3 SAR is no amount; these events are left out" in finding.reason
    write(events.assign(total=-events["total"]))
    with pytest.raises(DataError, match=r"-15.5 is negative \(40 rows"):
        read_own(path)


def test_an_event_without_a_shopper_is_by_the_shopper_of_its_list_else_by_a_guest(shop):
    path, events, write = shop
    write(events)
    expected = read_own(path).feedback["user_id"]
    write(events.assign(customer=None))
    assert read_own(path).feedback["user_id"].equals(expected)
    lists, answers = path.read_text().split("[feedback]")
    path.write_text(lists + "[feedback]" + answers.replace('user_id = "customer", ', ""))
    assert read_own(path).feedback["user_id"].equals(expected)
    write(events.assign(request=None, order="o" + events["id"].str.removeprefix("e")))
    path.write_text(path.read_text().replace('feedback_id = "id"', 'order_id = "order"'))
    findings = load_own(path, now=None)[1]
    assert [finding.rule for finding in errors(findings)] == ["emptiness"]  # guests are shown nothing
