"""The tables of the log in ClickHouse, made from `marketplace.schema`.

A slate is one row, its items are arrays, which ClickHouse keeps item by item in columns of their own: an answer and its
items are written at once or not at all, and nothing of the request is repeated. `slate_items` shows one row an item.

Every row has its number in order of arrival. `slates` and `feedback` are read with FINAL: of rows of one time and id,
which only two writers at once could make, the first to arrive counts. Ids are looked up by their hashes.
"""

from __future__ import annotations

import pyarrow as pa

from marketplace.log import QUARANTINED
from marketplace.schema import FEEDBACK, SLATE, TIME

DELTA, TEXT = "CODEC(Delta, ZSTD(1))", "CODEC(ZSTD(1))"
MANY = {"user_id": "String"}  # texts of too many values for a dictionary
CODECS = {"time": DELTA, "request_id": TEXT, "feedback_id": TEXT, "query": TEXT, "position": DELTA}
ARRIVAL = f"""arrival UInt64 {DELTA},
    precedence UInt64 MATERIALIZED bitNot(arrival) {DELTA},
    INDEX arrivals arrival TYPE minmax"""
COUNTS = """considered UInt32 MATERIALIZED length(position),
    shown UInt32 MATERIALIZED arrayCount(place -> place > 0, position)"""
HOURLY = """PROJECTION hourly (
    SELECT toStartOfHour(time), surface, policy_version, experiment, variant, count(), sum(considered), sum(shown)
    GROUP BY toStartOfHour(time), surface, policy_version, experiment, variant)"""
HOURLY_EVENTS = """PROJECTION hourly (
    SELECT toStartOfHour(time), event, currency, count(), sum(amount) GROUP BY toStartOfHour(time), event, currency)"""
REPLACING = "ENGINE = ReplacingMergeTree(precedence)"
REBUILT = "deduplicate_merge_projection_mode = 'rebuild'"


def kind_of(kind: pa.DataType, *, nullable: bool = False) -> str:
    """ClickHouse's type of a column of the schema."""
    if pa.types.is_map(kind):
        return f"Map(LowCardinality(String), {kind_of(kind.item_type, nullable=pa.types.is_string(kind.item_type))})"
    if pa.types.is_list(kind):
        words = pa.types.is_string(kind.value_type)  # of a feature, one of which may be missing
        return f"Array({kind_of(pa.dictionary(pa.int32(), pa.string()) if words else kind.value_type, nullable=words)})"
    if pa.types.is_dictionary(kind):
        return f"LowCardinality({'Nullable(String)' if nullable else 'String'})"
    name = NAMES[kind]
    return f"Nullable({name})" if nullable else name


NAMES = {
    pa.string(): "String",
    TIME: "DateTime64(6, 'UTC')",
    pa.float64(): "Float64",
    pa.float32(): "Float32",
    pa.int32(): "Int32",
}


def columns_of(schema: pa.Schema) -> str:
    return ",\n    ".join(
        f"{field.name} {MANY.get(field.name) or kind_of(field.type, nullable=field.nullable)} "
        f"{CODECS.get(field.name, '')}".rstrip()
        for field in schema
    )


def _hash(column: str) -> str:
    return f"id_hash UInt64 MATERIALIZED cityHash64({column}),\n    INDEX ids {column} TYPE bloom_filter(0.01)"


SLATES = f"""CREATE TABLE IF NOT EXISTS slates (
    {columns_of(SLATE)},
    {ARRIVAL},
    {_hash("request_id")},
    {COUNTS},
    {HOURLY})
{REPLACING} PARTITION BY toYYYYMMDD(time) ORDER BY (time, request_id)
SETTINGS {REBUILT}, ttl_only_drop_parts = 1"""

EVENTS = f"""CREATE TABLE IF NOT EXISTS feedback (
    {columns_of(FEEDBACK)},
    {ARRIVAL},
    {_hash("feedback_id")},
    {HOURLY_EVENTS})
{REPLACING} PARTITION BY toYYYYMM(time) ORDER BY (time, feedback_id)
SETTINGS {REBUILT}, ttl_only_drop_parts = 1"""

APART = f"""CREATE TABLE IF NOT EXISTS quarantine (
    {columns_of(QUARANTINED)},
    {ARRIVAL})
{REPLACING} ORDER BY (feedback_id, reason, ifNull(request_id, ''), event, user_id, item_id)"""

CATALOGUE = """CREATE TABLE IF NOT EXISTS catalogue (
    arrival UInt64, subject LowCardinality(String), name String, first UInt64, body String)
ENGINE = ReplacingMergeTree(arrival) ORDER BY (subject, name)"""

ORDERS = """CREATE TABLE IF NOT EXISTS orders (
    order_key String, item_id String, feedback_id String, time DateTime64(6, 'UTC') DEFAULT now64(6))
ENGINE = ReplacingMergeTree(time) ORDER BY (order_key, item_id)"""

MARKS = """CREATE TABLE IF NOT EXISTS marks (
    source String, slates UInt64, feedback UInt64, quarantine UInt64, catalogue UInt64,
    request_id String, feedback_id String,
    time DateTime64(6, 'UTC') DEFAULT now64(6))
ENGINE = ReplacingMergeTree(time) ORDER BY source"""

PER_ITEM = [field.name for field in SLATE if pa.types.is_list(field.type)]
ITEMS = f"""CREATE VIEW IF NOT EXISTS slate_items AS
SELECT {", ".join(field.name for field in SLATE if not pa.types.is_nested(field.type))},
    {", ".join(PER_ITEM)}, place, mapApply((head, items) -> (head, items[place]), predictions) AS predictions
FROM slates FINAL ARRAY JOIN {", ".join(PER_ITEM)}, arrayEnumerate(slates.item_id) AS place"""

EXPOSURES = """CREATE VIEW IF NOT EXISTS exposures AS
SELECT part.1 AS experiment, part.2 AS variant, user_id, request_id, time, surface
FROM slates FINAL
ARRAY JOIN arrayZip(
    splitByChar(';', assumeNotNull(slates.experiment)), splitByChar(';', assumeNotNull(slates.variant))) AS part
WHERE slates.experiment IS NOT NULL"""
