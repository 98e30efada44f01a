import numpy as np

from features.definitions import standard_spec
from features.spec import Group, Kind, ModelInputs
from serving.first_phase import FirstPhase

SPEC = standard_spec()


def inputs(rng, *, rows):
    """One request's, with numbers alone; a tenth of them missing."""
    counts = {group: len(SPEC.select(group, Kind.NUMBER)) for group in Group}
    shapes = {group: (1 if group is Group.USER else rows, count) for group, count in counts.items()}
    numbers = {group: rng.gamma(1.0, 2.0, shape).astype(np.float32) for group, shape in shapes.items()}
    numbers[Group.CROSS][rng.random(numbers[Group.CROSS].shape) < 0.1] = np.nan
    none = {name: np.zeros((1 if name[:4] == "user" else rows, 0), np.int32) for name in CODES}
    packed = {f"{group.value}_numbers": values for group, values in numbers.items()}
    return ModelInputs(**none, **packed, request=np.zeros(rows, np.int32))


CODES = ("user_codes", "user_lists", "item_codes", "item_lists", "cross_codes")


def taught(one):
    """Two heads that add up what the first phase can say: lines, a ramp, and what missing adds."""
    popularity, impressions = (np.log1p(one.cross_numbers[:, column]) for column in (0, 1))
    spoken = np.where(np.isnan(popularity), -1.0, 0.3 * popularity) - np.where(np.isnan(impressions), 0, impressions)
    price = np.log1p(one.item_numbers[:, 0])
    return {"ctr": np.exp(spoken - 3 + 0.1 * np.log1p(one.user_numbers[0, 0])), "order_value": np.exp(0.5 * price + 2)}


def test_it_says_of_other_candidates_what_an_additive_ranker_says(tmp_path):
    rng = np.random.default_rng(3)
    lists = [inputs(rng, rows=200) for _ in range(30)]
    first = FirstPhase.fitted(lists, [taught(one) for one in lists], spec=SPEC)
    first.save(tmp_path / "first_phase.npz")
    loaded, other = FirstPhase.load(tmp_path / "first_phase.npz"), inputs(rng, rows=300)
    for head, expected in taught(other).items():
        values = first.score(other)[head]
        assert values.dtype == np.float64
        assert np.corrcoef(np.log(values), np.log(expected))[0, 1] > 0.98
        assert np.array_equal(loaded.score(other)[head], values)


def test_a_number_that_is_infinite_or_was_never_seen_leaves_finite_heads():
    rng = np.random.default_rng(4)
    lists = [inputs(rng, rows=50) for _ in range(5)]
    for one in lists:
        one.cross_numbers[:, 3] = np.nan
        one.item_numbers[:, 1] = 7.0
    first = FirstPhase.fitted(lists, [taught(one) for one in lists], spec=SPEC)
    odd = inputs(rng, rows=40)
    odd.cross_numbers[:20, 4], odd.cross_numbers[20:, 5], odd.item_numbers[:, 1] = np.inf, -np.inf, 1e30
    assert all(np.isfinite(values).all() for values in first.score(odd).values())
