"""How many different shoppers touched an item, estimated (HyperLogLog): column `item_shoppers` [N].

A sketch is REGISTERS numbers: a shopper's hash names one of them, and the place of the lowest bit that is set in the
rest of the hash raises it. Sketches of two streams are one by the greater of each, so that repeats, order and shards
do not matter: batch and online form give the same bits. With S the sum of 2^-register, and V registers of 0,

    estimate = alpha m^2 / S, but m log(m / V) where that is below 2.5 m and V > 0;  m = REGISTERS

Standard error 1.04 / sqrt(m), 9 %. Flajolet, Fusy, Gandouet, Meunier: HyperLogLog, AofA 2007, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from features.asof import Timeline
from features.catalogue import Catalogue
from features.spec import Group, count
from features.state import Definition, Part
from features.statistics.keyed_memory import ItemRows, Memories
from features.statistics.point_in_time import Known, StatisticQuery, as_of, when
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor

BITS, HIGHEST = 7, 32  # of a register's number; registers go no further, so that sums of 2^-register are whole below
REGISTERS = 1 << BITS
ALPHA = 0.7213 / (1 + 1.079 / REGISTERS)
ONE = 1 << HIGHEST  # in which 2^-register is counted
FNV, PRIME, MIXING = 0xCBF29CE484222325, 0x100000001B3, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
CODE = f"""arrayFold((code, byte) -> bitXor(code, byte) * toUInt64({PRIME}),
        arrayMap(place -> toUInt64(reinterpretAsUInt8(substring(user_id, place, 1))), range(1, length(user_id) + 1)),
        toUInt64({FNV}))"""
MIXED = [f"bitXor(code_{shift}, bitShiftRight(code_{shift}, {shift})) * toUInt64({factor})" for shift, factor in MIXING]
RAISES = f"""codes AS (
    SELECT user_id, {CODE} AS code_30, {MIXED[0]} AS code_27, {MIXED[1]} AS code,
        bitXor(code, bitShiftRight(code, 31)) AS whole, bitShiftRight(whole, {BITS}) AS rest
    FROM (SELECT DISTINCT user_id FROM events) AS shoppers),
touches AS (
    SELECT e.item AS item, e.moment AS moment, bitAnd(c.whole, {REGISTERS - 1}) AS register,
        CASE WHEN c.rest > 0 THEN least(bitCount(bitXor(c.rest, c.rest - 1)), {HIGHEST}) ELSE {HIGHEST} END AS height
    FROM events AS e JOIN codes AS c ON c.user_id = e.user_id),
raises AS (
    SELECT item, moment, max(height) OVER (PARTITION BY item, register ORDER BY moment
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS now,
        max(height) OVER (PARTITION BY item, register ORDER BY moment
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM touches),
"""
MANY = f"{ALPHA * REGISTERS**2 * ONE} / ({REGISTERS * ONE} + total_sum)"
FEW = f"{REGISTERS} * log({REGISTERS} / ({REGISTERS} - registers_sum))"
ESTIMATE = f"CASE WHEN registers_sum < {REGISTERS} AND {MANY} <= {2.5 * REGISTERS} THEN {FEW} ELSE {MANY} END"


class DistinctShoppers:
    """Online: the registers of each item, uint8 [items, REGISTERS]."""

    name = "distinct_shoppers"
    definitions: tuple[Definition, ...] = (
        Definition(
            count(Group.CROSS, "item_shoppers", "different shoppers who touched the item so far, give or take 9 %"),
            lambda s: s["item_shoppers"],
            Part.EXTRA,
        ),
    )
    optional = True
    without_sql = "its hash multiplies beyond 64 bits, which others refuse"

    def __init__(self, catalogue: Catalogue) -> None:
        self._registers = np.zeros((len(catalogue), REGISTERS), np.uint8)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        total = f"bitShiftLeft(toInt64(1), {HIGHEST} - now) - bitShiftLeft(toInt64(1), {HIGHEST} - before)"
        raises = Known("raises", {"total": total, "registers": when("before = 0")})
        query = as_of(raises, by=("item",), finish={"item_shoppers": ESTIMATE}, sources=RAISES)
        return (replace(query, engines=("clickhouse",)),)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        item, register, height, time = _touches(log)
        order = np.lexsort((time, register, item))
        item, register, height, time = item[order], register[order], height[order], time[order]
        _, group = np.unique(item.astype(np.int64) * REGISTERS + register, return_inverse=True)
        now = np.maximum.accumulate(group * (HIGHEST + 1) + height) - group * (HIGHEST + 1)
        before = np.append(0, now[:-1]) * (np.diff(group, prepend=-1) == 0)
        line = Timeline(item, time)
        known = line.before(requests.item, requests.row_time)
        total = REGISTERS * ONE + line.sums(known, (ONE >> now) - (ONE >> before))
        empty = REGISTERS - line.sums(known, ((before == 0) & (now > 0)).astype(np.int64))
        return {"item_shoppers": requests.known(_estimate(total, empty))}

    def update(self, log: EventLog) -> None:
        item, register, height, _ = _touches(log)
        np.maximum.at(self._registers, (item, register), height.astype(np.uint8))

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        registers = self._registers[rows].astype(np.int64)
        total, empty = (ONE >> registers).sum(axis=1), (registers == 0).sum(axis=1)
        return {"item_shoppers": np.where(rows >= 0, _estimate(total, empty), 0.0)}

    @property
    def memories(self) -> Memories:
        return {"items": ItemRows({"registers": self._registers})}

    def saved(self) -> Mapping[str, np.ndarray]:
        item = np.flatnonzero(self._registers.any(axis=1))
        return {"item": item, "registers": self._registers[item]}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._registers[:] = 0
        self._registers[saved["item"]] = saved["registers"]


def _touches(log: EventLog) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Item, register, height that it is raised to, and time of each event about a known item; int64 [m]."""
    events = log.interactions
    rows = np.flatnonzero(events.item >= 0)
    code = hashed(events.user.dictionary)[events.users[rows]]
    rest = code >> np.uint64(BITS)
    lowest = rest & (~rest + np.uint64(1))  # a power of 2, 0 where nothing is set
    place = np.log2(np.maximum(lowest, 1).astype(np.float64)).astype(np.int64)
    height = np.minimum(np.where(lowest > 0, place + 1, HIGHEST), HIGHEST)
    return events.item[rows].astype(np.int64), (code % np.uint64(REGISTERS)).astype(np.int64), height, events.time[rows]


def _estimate(total: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Of sums of 2^-register, in ONE, and the number of registers of 0."""
    few = REGISTERS * np.log(REGISTERS / np.maximum(empty, 1))
    many = ALPHA * REGISTERS**2 * ONE / np.asarray(total, np.float64)
    return np.where((many <= 2.5 * REGISTERS) & (empty > 0), few, many)


def hashed(names: pa.Array) -> np.ndarray:
    """uint64 [n]: FNV-1a of each name's UTF-8, mixed as SplitMix64 ends; a loop over the longest name's bytes."""
    names = names.cast(pa.large_string())
    size = len(names)
    ends = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + size + 1]
    text = np.frombuffer(names.buffers()[2] or b"", np.uint8)
    code, lengths = np.full(size, FNV, np.uint64), np.diff(ends)
    for place in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > place)
        code[rows] = (code[rows] ^ text[ends[rows] + place]) * np.uint64(PRIME)
    for shift, factor in MIXING:
        code = (code ^ (code >> np.uint64(shift))) * np.uint64(factor)
    return code ^ (code >> np.uint64(31))
