"""The Arrow schemas of everything that is recorded: the single source of truth of the log contract.

Conventions: identifiers are dictionary-encoded strings; times are UTC microseconds; money is in the row's
`currency`; probabilities lie in [0, 1]. A slate is one row: request columns are scalars, columns over its
n items are lists of length n in one common order. Every schema carries its version in its metadata.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

SCHEMA_VERSION = 1

SURFACES = ("home", "search", "store_page", "product_page")
LABELLED_EVENTS = ("impression", "click", "cart", "order", "return")  # what attribution makes labels of
INTERESTS = ("view", "wishlist")  # the item's page was opened, the item was put on a wish list: kept, without a label
EVENTS = (*LABELLED_EVENTS, *INTERESTS)
EVENT_CODE = {event: code for code, event in enumerate(EVENTS)}

# Reserved entries of a slate's `context`, which the service adds: the seed of the random draws, the places to fill,
# how many candidates were scored (the slate keeps the shortlist), and the group whose weights applied.
SEED_KEY, PLACES_KEY, CONSIDERED_KEY, SEGMENT_KEY = "seed", "k", "considered", "segment"
# Of a search also: its words in normal form, and how well the best item shown answers them (MATCHES).
QUERY_WORDS_KEY, MATCH_KEY = "query_words", "match"
MATCHES = ("none", "part", "all")

# How well an item answers the words of a search, best first: they are its name; it answers all of them; all, some
# nearly (a beginning, a near spelling, further text); most of them; some. 0 = none.
RELEVANCE_GRADES = {"name": 5, "all": 4, "nearly": 3, "most": 2, "part": 1}

# Reserved entries of `numeric`: the grade of each candidate of a search, the number of the tier that it was chosen in
# (the highest comes first), how many of the shopper's lists ago it was shown and left (0 = in none of the last
# MOST_LISTS), the shadow prices of the items' merchants, the prefix of a quantity that the formula read under the name
# of a feature with other content, and that of what the slate policy read of items which had changed since the bundle.
RELEVANCE = "relevance"
TIER = "relevance_tier"
LISTS_SINCE, MOST_LISTS = "lists_since", 10
SHADOW_PRICE = "shadow_price"
FIRST_VALUE, FIRST_RANK = "first_phase_value", "first_phase_rank"
# Of an interleaved slate (`evaluation.experiments.interleaving`): each item's place in list 0, 1, ... (0 = none), the
# odds of each list, and the odds that the rival placed the item, by the list shown.
LIST_PLACE, LIST_ODDS, RIVAL_ODDS = "list_place.", "list_odds.", "rival_odds"
FORMULA_PREFIX = "formula."
RULE_PREFIX = "rule."
# Of a list some of whose items were shown with a treatment, such as a coupon: 1 where it was, 0 where not, and the
# probability of that. No feature: who was treated is what effects are learned from.
TREATED, TREATED_CHANCE = "treated", "treated_chance"

COLUMN_PARTS = ("retriever", "index", "ranker", "calibrator", "policy", "feature_spec")  # versions in columns
# Further ones, where there are any: JSON, the slate continued, and how many places of the list lie above the first.
FILTERS_KEY, CURSOR_KEY, ABOVE_KEY = "filters", "cursor", "places_above"
UNSCORED_KEY = "unscored"  # candidates that were retrieved, and not scored for want of time; absent = none
RANKED_KEY = "ranked"  # candidates that the ranker scored after a first phase; absent = all that were considered
SCORER_KEY = "scorer"  # who ranked, where not the bundle's model alone: a model server, or what stood in, and why
SURFACES_KEY = "surfaces"  # a reserved entry of the context: the version of the surfaces' recipes, since there are any
RESERVED_CONTEXT = frozenset(
    {SEED_KEY, PLACES_KEY, CONSIDERED_KEY, SEGMENT_KEY, SURFACES_KEY} | {FILTERS_KEY, CURSOR_KEY, ABOVE_KEY}
) | {QUERY_WORDS_KEY, MATCH_KEY, UNSCORED_KEY, RANKED_KEY, SCORER_KEY}
VERSION_PARTS = (*COLUMN_PARTS, "surfaces")  # of what answered a slate

ID = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us", tz="UTC")
LARGEST_FLOAT32 = 3.4028234663852886e38  # what models read is float32
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


# Request columns of a slate, then its columns over items.
REQUEST_FIELDS = (
    _field("request_id", pa.string(), "unique name of the request"),
    _field("time", TIME, "when the slate was answered"),
    _field("surface", ID, "where it is shown: " + ", ".join(SURFACES)),
    _field("user_id", ID, "the shopper, or the household"),
    _field("session_id", ID, "the visit that the request belongs to", nullable=True),
    _field("query", pa.string(), "search text, on the search surface", nullable=True),
    _field("page_merchant_id", ID, "the merchant whose store page it is", nullable=True),
    _field("page_item_id", ID, "the item whose product page it is", nullable=True),
    _field(
        "context",
        pa.map_(pa.string(), pa.string()),
        "what else was known of the request: country, device, city; the service adds "
        f"{SEED_KEY}, {PLACES_KEY}, {CONSIDERED_KEY}, {SEGMENT_KEY} and {SURFACES_KEY}, of a search {QUERY_WORDS_KEY} "
        f"and {MATCH_KEY}, near a deadline {UNSCORED_KEY}: candidates that were retrieved and not scored, after a "
        f"first phase {RANKED_KEY}: candidates that the ranker scored, and {SCORER_KEY}: who ranked them where not the "
        "bundle's model alone: a model server, or what stood in, and why",
    ),
    _field("currency", ID, "currency of every amount in the row (ISO 4217)"),
    _field("experiment", ID, "experiments that the request took part in, joined by ;", nullable=True),
    _field("variant", ID, "variant of each of them, in the same order, joined by ;", nullable=True),
    _field("retriever_version", ID, "content hash of the candidate towers"),
    _field("index_version", ID, "content hash of the candidate index"),
    _field("ranker_version", ID, "content hash of the ranker"),
    _field("calibrator_version", ID, "content hash of the calibrators"),
    _field("policy_version", ID, "content hash of the value policy"),
    _field("feature_spec_version", ID, "content hash of the feature definitions"),
    _field(
        "weights",
        pa.map_(pa.string(), pa.float64()),
        "the value formula's weights as applied: the request's draw of them",
    ),
    _field(
        "numeric",
        pa.map_(pa.string(), pa.list_(pa.float32())),
        "numeric features as served: length 1 (request) or n (item, cross); beside them the merchant quantities that "
        f"the formula read, {SHADOW_PRICE}: what a promise of exposure added to the values, {LISTS_SINCE}: how many of "
        f"the shopper's lists ago it was shown and left, {RELEVANCE}: how well "
        f"the item answers a search ({', '.join(f'{grade} = {name}' for name, grade in RELEVANCE_GRADES.items())}), "
        f"{TIER}: the number of its tier there, the highest of which was shown first; where lists say who was treated, "
        f"{TREATED}: 1 or 0, with {TREATED_CHANCE}: the probability of 1; where two policies' lists were interleaved, "
        f"{LIST_PLACE}0, {LIST_PLACE}1, ...: the item's place in each list (0 = none), {LIST_ODDS}0, ...: the odds of "
        f"each, and {RIVAL_ODDS}: the odds that the rival placed the item, by the list shown; after a first phase "
        f"{FIRST_VALUE}: the formula's result by it, and {FIRST_RANK}: the item's place by that among all considered",
    ),
    _field(
        "categorical",
        pa.map_(pa.string(), pa.list_(pa.string())),
        "categorical features as served: length 1, n, or a history's own length",
    ),
)

ITEM_FIELDS = (
    _field("item_id", pa.list_(ID), "the item"),
    _field("merchant_id", pa.list_(ID), "who sells it"),
    _field("price", pa.list_(pa.float64()), "price as shown, in currency"),
    _field("source", pa.list_(ID), "candidate source that proposed it"),
    _field("retrieval_score", pa.list_(pa.float32()), "that source's score"),
    _field(
        "merchant_value", pa.list_(pa.float64()), "worth to the platform apart from this order, currency per impression"
    ),
    _field("value", pa.list_(pa.float64()), "the value formula's result, in the formula's unit"),
    _field(
        "position",
        pa.list_(pa.int32()),
        "1-based position in the list, its pages one after another; 0 = not shown",
    ),
    _field(
        "propensity", pa.list_(pa.float64()), "P(this item here | the items above it, the policy); NaN where not shown"
    ),
    _field(
        "predictions",
        pa.map_(pa.string(), pa.list_(pa.float64())),
        "per head, n predictions",
    ),
)

SLATE = _schema(*REQUEST_FIELDS, *ITEM_FIELDS)

FEEDBACK = _schema(
    _field("feedback_id", pa.string(), "unique name of the event; a repeat is a duplicate delivery"),
    _field("request_id", pa.string(), "the slate it answers; null = it belongs to no slate", nullable=True),
    _field("event", ID, "what the shopper did: " + ", ".join(EVENTS)),
    _field("time", TIME, "when"),
    _field("user_id", ID, "the shopper"),
    _field("item_id", ID, "the item"),
    _field("amount", pa.float64(), "order or refund amount, in currency", nullable=True),
    _field("currency", ID, "currency of the amount (ISO 4217)", nullable=True),
    _field("session_id", ID, "the visit", nullable=True),
    _field("detail", ID, "the source's own name for the event", nullable=True),
)

ITEMS = _schema(
    _field("item_id", pa.string(), "unique name"),
    _field("merchant_id", ID, "who sells it"),
    _field("category", ID, "the leaf category"),
    _field("name", pa.string(), "title, any language", nullable=True),
    _field("price", pa.float64(), "list price, in currency"),
    _field("currency", ID, "ISO 4217"),
    _field("in_stock", pa.bool_(), "can be ordered"),
    _field("available_from", TIME, "launch; null = always was", nullable=True),
    _field("first_seen", TIME, "in data without launches: first record of it; null = from the start", nullable=True),
    _field("margin", pa.float64(), "share of the price left after the item's cost; null = not known", nullable=True),
    _field(
        "attributes",
        pa.map_(pa.string(), pa.string()),
        "what else is known of the item, by name, such as its brand: rules of a slate may count it",
        nullable=True,
    ),
    _field(
        "numeric",
        pa.map_(pa.string(), pa.float64()),
        "numbers known of the item, by name; yes and no are 1 and 0, dates are days since 1970-01-01",
        nullable=True,
    ),
    _field("text", pa.map_(pa.string(), pa.string()), "further text of the item, by name", nullable=True),
)

MERCHANTS = _schema(
    _field("merchant_id", pa.string(), "unique name"),
    _field("country", ID, "ISO 3166 alpha-2", nullable=True),
    _field("plan", ID, "subscription plan", nullable=True),
    _field("commission_rate", pa.float64(), "platform's share of an order's value, [0, 1]"),
    _field("quality", pa.float64(), "service quality, [0, 1]"),
    _field("return_rate", pa.float64(), "share of orders returned, [0, 1]"),
    _field("refusal_rate", pa.float64(), "share of cash-on-delivery orders refused, [0, 1]"),
    _field("joined", TIME, "when the merchant joined; null = long ago", nullable=True),
)

USERS = _schema(
    _field("user_id", pa.string(), "unique name"),
    _field("country", ID, "ISO 3166 alpha-2", nullable=True),
    _field("segment", ID, "the data's own grouping", nullable=True),
    _field("joined", TIME, "when the shopper joined; null = long ago", nullable=True),
    _field(
        "attributes", pa.map_(pa.string(), pa.string()), "what else is known of the shopper, by name", nullable=True
    ),
    _field(
        "numeric",
        pa.map_(pa.string(), pa.float64()),
        "numbers known of the shopper, by name; yes and no are 1 and 0, dates are days since 1970-01-01",
        nullable=True,
    ),
)


class SchemaError(ValueError):
    """A table does not follow its schema: says which column, what was received, and what to do."""


def microseconds_of(time: datetime) -> int:
    """UTC microseconds since 1970, as times are stored. Raises SchemaError where `time` has no time zone."""
    if time.tzinfo is None:
        raise SchemaError(f"time {time} has no time zone; use UTC.")
    return (time - EPOCH) // MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The time of `microseconds_of`."""
    return EPOCH + MICROSECOND * microseconds


def conform(table: pa.Table, schema: pa.Schema, *, where: str) -> pa.Table:
    """`table` with `schema`'s columns, order, types and metadata; missing nullable columns become null.

    Raises SchemaError for unknown columns, missing or null-holding required columns and types that cannot be cast.
    """
    unknown = [name for name in table.column_names if name not in schema.names]
    if unknown:
        raise SchemaError(f"{where}: unknown columns {unknown}; the schema has {schema.names}. Drop or map them.")
    columns = [_conform_column(table, field, where=where) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _conform_column(table: pa.Table, field: pa.Field, *, where: str) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if not field.nullable:
            raise SchemaError(f"{where}: column {field.name!r} is missing ({field.metadata[b'meaning'].decode()}).")
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    column = table[field.name]
    if column.type != field.type:
        try:
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise SchemaError(
                f"{where}: column {field.name!r} is {column.type}, wanted {field.type}: {error}"
            ) from error
    if column.null_count and not field.nullable:
        row = column.is_null().index(True).as_py()
        raise SchemaError(
            f"{where}: column {field.name!r} has {column.null_count} empty values, the first in row {row}."
        )
    return column


def empty(schema: pa.Schema) -> pa.Table:
    """A table of `schema` without rows."""
    return schema.empty_table()
