"""The formula's inputs come back from logged slates, aligned to the items that they belong to."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from marketplace.schema import MERCHANTS, SLATE, conform
from value_model.formula import default_policy, evaluate, parse_policy, to_toml
from value_model.formula.logged_slates import logged_slates
from value_model.merchant import MerchantTable

TIME = datetime(2026, 3, 1, tzinfo=UTC)


def slates_table(predictions: list[dict], numeric: list[dict], merchants: list[list[str]]) -> pa.Table:
    """A SLATE table with what a formula reads; the rest is filler."""
    counts = [len(row) for row in merchants]
    text = {f.name: ["x"] * len(counts) for f in SLATE if f.name not in ("time", "context", "weights")}
    columns = text | {
        "time": [TIME] * len(counts),
        "surface": ["home", "search"][: len(counts)],
        "context": [{}] * len(counts),
        "weights": [{}] * len(counts),
        "categorical": [{}] * len(counts),
        "numeric": numeric,
        "predictions": predictions,
        "merchant_id": merchants,
    }
    for f in SLATE:
        if pa.types.is_list(f.type) and f.name != "merchant_id":
            filler = "x" if pa.types.is_dictionary(f.type.value_type) else 1
            columns[f.name] = [[filler] * n for n in counts]
    maps = {name: [list(cell.items()) for cell in columns[name]] for name in MAPS}
    return conform(
        pa.table({name: pa.array(v, PLAIN.get(name)) for name, v in (columns | maps).items()}), SLATE, where="t"
    )


MAPS = ("context", "weights", "categorical", "numeric", "predictions")
PLAIN = {name: SLATE.field(name).type for name in (*MAPS, "time")}
HEADS = [{"ctr": [0.1, 0.2], "ctcvr": [0.01, 0.02], "gmv": [1.0, 2.0]}, {"ctr": [0.3], "ctcvr": [0.03], "gmv": [3.0]}]
RATES = [
    {"commission_rate": [0.1, 0.2], "quality": [0.5, 0.6], "newness": [0.0, 1.0], "formula.quality": [0.7, 0.8]},
    {"commission_rate": [0.1], "quality": [0.9], "newness": [0.5]},
]


def test_columns_are_padded_by_request() -> None:
    logged = logged_slates(slates_table(HEADS, RATES, [["a", "b"], ["b"]]), default_policy())
    assert logged.mask.tolist() == [[True, True], [True, False]]
    assert logged.columns["gmv"][logged.mask].tolist() == [1.0, 2.0, 3.0]
    assert logged.columns["newness"][1, 0] == 0.5
    assert logged.surface.tolist() == ["home", "search"]
    assert logged.on("search").columns["ctr"].tolist() == [[0.3, 0.0]]


def test_what_the_formula_read_wins_over_a_feature_of_the_same_name() -> None:
    both = [RATES[0], RATES[1] | {"formula.quality": [0.9]}]
    logged = logged_slates(slates_table(HEADS, both, [["a", "b"], ["b"]]), default_policy())
    assert logged.columns["quality"][0] == pytest.approx([0.7, 0.8])


def test_merchants_are_told_apart() -> None:
    policy = parse_policy(to_toml(default_policy()).replace("ctr + ", "ctr + 0 * w_new * slate_nth(gmv, merchant) + "))
    columns = logged_slates(slates_table(HEADS, RATES, [["a", "b"], ["b"]]), policy).columns
    codes = columns["merchant"]
    assert codes[0, 1] == codes[1, 0] != codes[0, 0]
    assert evaluate(policy, columns).shape == (
        2,
        2,
    )


def test_what_was_not_logged_is_named() -> None:
    without = [{}, RATES[1]]
    with pytest.raises(ValueError, match=r"\['commission_rate', 'quality', 'newness'\]"):
        logged_slates(slates_table(HEADS, without, [["a", "b"], ["b"]]), default_policy())


def test_what_was_not_known_when_it_was_logged_needs_a_stand_in() -> None:
    text = to_toml(default_policy()).replace("ctr + ", "ctr + 0 * w_new * age + ")
    declared = f'{text}\n[quantities.age]\nunit = "1"\nlow = 0\nhigh = 9\n'
    served = slates_table(
        HEADS, [RATES[0] | {"age": [float("nan"), 3.0]}, RATES[1] | {"age": [4.0]}], [["a", "b"], ["b"]]
    )
    with pytest.raises(ValueError, match=r"\['age'\] for every item"):
        logged_slates(served, parse_policy(declared))
    logged = logged_slates(served, parse_policy(declared + "missing = 8\n"))
    assert np.isfinite(evaluate(parse_policy(declared + "missing = 8\n"), logged.columns)).all()
    without = slates_table(HEADS, RATES, [["a", "b"], ["b"]])
    with pytest.raises(ValueError, match=r"\['age'\] for every item"):
        logged_slates(without, parse_policy(declared + "missing = 8\n"))


def merchants() -> pa.Table:
    rows = {
        "merchant_id": ["new", "old", "undated"],
        "commission_rate": [0.1, 0.2, 0.3],
        "quality": [0.5, 0.7, 0.9],
        "return_rate": [0.0, 0.1, 0.2],
        "refusal_rate": [0.0, 0.0, 0.3],
        "joined": pa.array([TIME - timedelta(days=30), TIME - timedelta(days=3000), None], pa.timestamp("us", "UTC")),
    }
    return conform(pa.table(rows), MERCHANTS, where="t")


def test_merchant_quantities_follow_the_merchant_and_the_clock() -> None:
    table = MerchantTable.from_table(merchants())
    codes = table.codes(pa.array(["old", "new", "stranger", "undated"]))
    quantities = table.quantities(codes, time=TIME)
    assert codes.tolist() == [1, 0, 3, 2]
    assert quantities["commission_rate"].tolist() == [0.2, 0.1, 0.2, 0.3]
    assert quantities["newness"] == pytest.approx([0.0, 0.5, 0.0, 0.0], abs=1e-12)
    assert quantities["quality"][2] == 0.7
    younger = table.quantities(codes, time=TIME - timedelta(days=30))
    assert younger["newness"][1] == 1.0
    before_joining = table.quantities(codes, time=TIME - timedelta(days=60))
    assert before_joining["newness"][1] == 1.0


def test_no_merchants_at_all_is_no_accident() -> None:
    table = MerchantTable.from_table(MERCHANTS.empty_table())
    quantities = table.quantities(table.codes(pa.array(["x"])), time=TIME)
    assert quantities["commission_rate"].tolist() == [0.0]
    assert quantities["newness"].tolist() == [0.0]
