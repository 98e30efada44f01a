"""A shop that shuffles its lists: propensities are understood without values, and disbelieved where they are others."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from made_shop import MAPPING, shop_rows, write_shop

from jobs.run_evidence import of_one_policy
from marketplace.check import data_check
from marketplace.datasets.own import read_own
from marketplace.prospects import short_lists
from marketplace.recorded_draws import drawn_at_random, follow_from_values, with_propensities
from value_model.formula import default_policy

DRAWN = MAPPING.replace('position = "slot"', 'position = "slot", propensity = "chance"')
PLACES = {1: 1 / 8, 2: 1 / 7, 3: 1 / 6}  # of three drawn from eight, one after another


def shuffled(folder, chance, *, requests=600):
    """A mapping of lists whose rows' propensities are `chance(request, place)`."""
    files = shop_rows(requests=requests)
    header, *rows = files["impressions.csv"]
    files["impressions.csv"] = [[*header, "chance"], *([*row, chance(row[0], int(row[4]))] for row in rows)]
    return write_shop(folder, files, mapping=DRAWN)


def tuning(mapping):
    (line,) = (line for line in data_check(mapping).lines() if line.startswith("tune: "))
    return line


def test_lists_shuffled_among_all_items_are_known_to_be(tmp_path):
    mapping = shuffled(tmp_path, lambda request, place: str(PLACES[place]))
    slates = read_own(mapping).slates
    assert with_propensities(slates).all()
    assert follow_from_values(slates)
    assert "100% of the requests were drawn at random" in tuning(mapping)


@pytest.mark.parametrize("wrong", [{1: 1 / 8, 2: 1 / 8, 3: 1 / 8}, {1: 0.13, 2: 0.14, 3: 0.17}])
def test_marginal_and_rounded_propensities_are_disbelieved_before_anything_is_trained(tmp_path, wrong):
    mapping = shuffled(tmp_path, lambda request, place: str(wrong[place]))
    assert not follow_from_values(read_own(mapping).slates)
    assert "propensities are not P(this item here | the items above it)" in tuning(mapping)


def test_of_a_share_that_is_shuffled_the_rest_is_left_out_and_counted(tmp_path):
    mapping = shuffled(tmp_path, lambda request, place: str(PLACES[place]) if int(request[1:]) % 4 == 0 else "")
    dataset, policy = read_own(mapping), default_policy()
    assert "25% of the requests were drawn at random" in tuning(mapping)
    slates, ranked_by, notes = of_one_policy(dataset, dataset.slates, {}, policy)
    assert [int(name[1:]) % 4 for name in slates["request_id"].to_pylist()] == [0] * 150
    assert ranked_by == policy
    assert notes == ("450 requests of which no place was drawn at random with its propensity are left out.",)


def test_a_row_that_was_exported_twice_spoils_its_own_request_alone(tmp_path):
    mapping = shuffled(tmp_path, lambda request, place: str(PLACES[place]))
    header, *rows = (tmp_path / "impressions.csv").read_text("utf-8").splitlines()
    (tmp_path / "impressions.csv").write_text("\n".join([header, *rows, rows[7], rows[700]]) + "\n", "utf-8")
    slates = read_own(mapping).slates
    twice = {row.split(",")[0] for row in (rows[7], rows[700])}
    drawn = with_propensities(slates)
    assert set(slates.filter(pa.array(~drawn))["request_id"].to_pylist()) == twice
    assert follow_from_values(slates.filter(pa.array(drawn)))
    assert "100% of the requests were drawn at random" in tuning(mapping)


def test_of_requests_that_were_certain_those_are_kept_that_had_to_be(tmp_path):
    """Values far apart make a page certain; a ranker that draws nothing may call its pages certain, too."""
    mapping = shuffled(tmp_path, lambda request, place: str(PLACES[place]) if int(request[1:]) % 4 == 0 else "1")
    shuffled_alone = [int(name[1:]) % 4 == 0 for name in read_own(mapping).slates["request_id"].to_pylist()]
    np.testing.assert_array_equal(drawn_at_random(read_own(mapping).slates), shuffled_alone)
    peaked = MAPPING.replace('position = "slot"', 'position = "slot", propensity = "chance", value = "odds"')
    files = shop_rows(requests=600)
    header, *rows = files["impressions.csv"]
    chance = {True: {1: 1.0, 2: 1.0, 3: 1.0}, False: {1: 1 / 3, 2: 1 / 2, 3: 1.0}}
    for row in rows:
        certain = int(row[0][1:]) % 4 == 0
        row += [str(chance[certain][int(row[4])]), str(-50 * int(row[4]) if certain else 0)]
    files["impressions.csv"] = [[*header, "chance", "odds"], *rows]
    slates = read_own(write_shop(tmp_path, files, mapping=peaked)).slates
    assert with_propensities(slates).sum() == 450
    assert drawn_at_random(slates).all()


def test_a_list_is_as_long_as_what_it_showed(tmp_path):
    counted, offsets = np.array([1, 1, 0, 0, 1, 1, 1, 0], bool), np.array([0, 4, 8])
    assert short_lists(counted, offsets, k=3)[0].startswith("No list showed more than 3 items")
    assert short_lists(counted, offsets, k=2) == ()


def test_a_head_whose_events_are_not_settled_in_the_later_periods_is_not_promised(tmp_path):
    """Orders of one request in two come back after ten days, and the log is 40 days long: its end knows of none."""
    files = shop_rows(requests=140)
    bought = [row for row in files["events.csv"] if row[2] == "purchase"]
    for row in bought[::2]:
        at = (datetime.fromisoformat(row[3]) + timedelta(days=10)).strftime("%Y-%m-%d %H:%M:%S")
        if at < "2026-04-10":
            files["events.csv"].append([f"{row[0]}.back", row[1], "return", at, *row[4:]])
    mapping = write_shop(tmp_path, files)
    lines = list(data_check(mapping).lines())
    (heads,) = (line for line in lines if line.startswith("heads and the events"))
    assert heads.startswith("heads and the events that teach them: ctr from 140, cvr from 70")
    assert "kept" not in heads
    assert any(line.startswith("no head yet of kept_order, net_value: nothing of it has settled") for line in lines)
    (tmp_path / "mapping.toml").write_text("closed = true\n" + MAPPING, "utf-8")
    assert any("kept from" in line for line in data_check(mapping).lines())
