"""Rows of many keys at once are what a loop over keys makes of them."""

import numpy as np
import pytest

from features.statistics.keyed_rows import KeyedRows, NamedTable

DTYPES = {"time": np.int64, "pair": np.dtype((np.float64, 2))}
NAMES = [f"n{number}" for number in range(12)]


def rows_of(rng, lengths):
    """Sorted times, and a pair beside each."""
    time = np.concatenate([np.zeros(0, np.int64), *(np.sort(rng.integers(0, 9, length)) for length in lengths)])
    return KeyedRows(np.array(lengths, np.int64), {"time": time, "pair": rng.random((len(time), 2))})


def lists_of(rows):
    return [
        list(zip(part["time"].tolist(), part["pair"].tolist(), strict=True))
        for part in map(rows.of_key, range(len(rows.lengths)))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_table_is_a_dictionary_of_rows(seed):
    rng = np.random.default_rng(seed)
    table, oracle = NamedTable(DTYPES), dict[str, list]()
    for step in range(30):
        names = rng.permutation(NAMES)[: rng.integers(1, 7)].tolist()
        rows = rows_of(rng, rng.integers(0, 4, len(names)))
        if step % 10 == 9:
            table.put(names, rows)
            oracle = {}
        else:
            table.replace(names, rows)
        oracle |= dict(zip(names, lists_of(rows), strict=True))
        wanted = rng.permutation([*NAMES, "nobody"]).tolist()
        assert lists_of(table.take(wanted)) == [oracle.get(name, []) for name in wanted]
        assert sorted(table.names()) == sorted(name for name, some in oracle.items() if some)
        assert [len(table.get(name)["time"]) for name in NAMES] == [len(oracle.get(name, [])) for name in NAMES]


@pytest.mark.parametrize("seed", range(5))
def test_places_and_insertion_are_those_of_a_loop_over_keys(seed):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, rng.integers(0, 5, 6))
    keys, time = np.sort(rng.integers(0, 6, 20)), rng.integers(0, 9, 20)
    order = np.lexsort((time, keys))
    keys, time = keys[order], time[order]
    times = [rows.of_key(key)["time"] for key in keys]
    for same, side in ((False, "left"), (True, "right")):
        expected = [np.searchsorted(known, one, side=side) for known, one in zip(times, time, strict=True)]
        place = rows.smaller("time", keys, time, same=same)
        assert place.tolist() == expected
    more = {"time": time, "pair": rng.random((20, 2))}
    merged = rows.inserted(keys, place, more)
    for key in range(6):
        old, new = rows.of_key(key), keys == key
        both = {name: np.concatenate([old[name], more[name][new]]) for name in DTYPES}
        order = np.argsort(both["time"], kind="stable")
        for name, values in merged.of_key(key).items():
            np.testing.assert_array_equal(values, both[name][order])
