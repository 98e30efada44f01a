"""Point-in-time SQL: a statistic's columns as of past requests, computed where the log lies.

A query reads the tables of the log contract, `slates` and `feedback`; `requests`, shaped as `slates` is, of which it
reads `request_id`, `time`, `user_id`, `session_id`, `page_item_id` and `item_id`; `users`; and `items`, a row a version
of an item: beside the contract's `item_id`, `category` and `merchant_id` its `known`, when that came to be known, null
from the beginning. An event counts from its own time on, however late it reached the log, and for the category that
its item was known to have at the time of the request. Known is what lies strictly before that time.

It is ClickHouse's SQL, of words that `marketplace.clickhouse.dialects` says in other engines' too. Events and requests
are merged in order of time and added up by key, as `features.asof.Timeline` does: no event meets every request. What is
known in (since, until] is added at the one moment and taken away at the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from features.asof import NEVER
from features.interactions import KINDS

BEGINNING, FOREVER = -(2**62), 2**62  # microseconds
ENGINES = ("clickhouse", "bigquery", "spark")

SOURCES = {
    "facts": f"""SELECT item, category, merchant_id, since,
        lead(since, 1, {FOREVER}) OVER (PARTITION BY item ORDER BY since) AS until
    FROM (
        SELECT item_id AS item, category, merchant_id, coalesce(toUnixTimestamp64Micro(known), {BEGINNING}) AS since
        FROM items) AS versions""",
    "segments": "SELECT user_id, concat('=', segment) AS segment FROM users WHERE segment IS NOT NULL",
    "visitors": """SELECT r.request_id AS request_id, toUnixTimestamp64Micro(r.time) AS moment, r.user_id AS user_id,
        r.session_id AS session_id, r.page_item_id AS page_item, coalesce(s.segment, '') AS segment
    FROM requests AS r LEFT JOIN segments AS s ON s.user_id = r.user_id""",
    "candidates": """SELECT o.request_id AS request_id, o.place AS place, v.moment AS moment, v.user_id AS user_id,
        v.session_id AS session_id, v.page_item AS page_item, v.segment AS segment, o.item AS item,
        f.category AS category, f.merchant_id AS merchant_id
    FROM (
        SELECT request_id, item, place
        FROM requests ARRAY JOIN item_id AS item, arrayEnumerate(item_id) AS place) AS o
    JOIN visitors AS v ON v.request_id = o.request_id
    JOIN facts AS f ON f.item = o.item
    WHERE f.since < v.moment AND v.moment <= f.until""",
    "events": f"""SELECT toUnixTimestamp64Micro(time) AS moment, user_id, session_id, item_id AS item, event,
        request_id IS NOT NULL AS answers, arrival AS arrived
    FROM feedback FINAL
    WHERE event IN {KINDS} AND time < (SELECT max(time) FROM requests)""",
    "lists": """SELECT toUnixTimestamp64Micro(time) AS moment, user_id, session_id
    FROM slates FINAL
    WHERE time < (SELECT max(time) FROM requests)""",
    "shown": """SELECT toUnixTimestamp64Micro(time) AS moment, user_id, session_id, item, seat, place,
        arrival AS arrived
    FROM slates FINAL ARRAY JOIN item_id AS item, position AS seat, arrayEnumerate(item_id) AS place
    WHERE seat > 0 AND time < (SELECT max(time) FROM requests)""",
    "item_events": """SELECT e.moment AS moment, e.user_id AS user_id, e.item AS item, e.event AS event,
        e.answers AS answers, f.category AS category, f.merchant_id AS merchant_id, coalesce(s.segment, '') AS segment,
        greatest(e.moment, f.since) AS since, f.until AS until
    FROM events AS e JOIN facts AS f ON f.item = e.item LEFT JOIN segments AS s ON s.user_id = e.user_id""",
    "item_shown": """SELECT e.moment AS moment, e.user_id AS user_id, e.item AS item, f.category AS category,
        f.merchant_id AS merchant_id, coalesce(s.segment, '') AS segment,
        greatest(e.moment, f.since) AS since, f.until AS until
    FROM shown AS e JOIN facts AS f ON f.item = e.item LEFT JOIN segments AS s ON s.user_id = e.user_id""",
}


class Of(StrEnum):
    """What a query's answer has a row of, and names it by."""

    REQUEST = "request"  # request_id
    ROW = "item"  # request_id and place, 1 = the request's first item; items not in the catalogue are left out
    STEP = "step"  # of a history, oldest first: request_id and place, 1 = the first step


@dataclass(frozen=True)
class StatisticQuery:
    """`columns` by name, with the value where there is no row; `body`: what follows SOURCES.

    `engines` whose SQL can say it. `derived` makes the statistic's columns of the catalogue, the requests (RequestRows)
    and the query's columns, where these are not all.
    """

    of: Of
    columns: Mapping[str, float]
    body: str
    engines: tuple[str, ...] = ENGINES
    derived: Callable[..., dict[str, np.ndarray]] | None = None

    @property
    def sql(self) -> str:
        """In ClickHouse's SQL, with the sources that it reads."""
        text, sources = self.body, list[str]()
        for name, select in reversed(SOURCES.items()):
            if re.search(rf"\b(FROM|JOIN) {name}\b", text):
                text, sources = f"{select}\n{text}", [f"{name} AS ({select})", *sources]
        return f"WITH {f',{chr(10)}'.join(sources)}" + ("\n" if self.body.startswith("SELECT") else ",\n") + self.body


@dataclass(frozen=True)
class Known:
    """Rows of a source (SOURCES), each adding `values` (column: number) from its time on, for `span` microseconds.

    What an item's category, merchant or its shopper's segment is, `item_events` and `item_shown` say.
    """

    source: str
    values: Mapping[str, str]
    where: str = "1 = 1"
    span: int | None = None

    def moves(self, by: tuple[str, ...], columns: Mapping[str, str], *, asking: str) -> list[str]:
        """The SELECTs of what is added and taken away; `columns`: what each is where nothing is added."""
        versions = self.source.startswith("item_")
        since, until = ("since", "until") if versions else ("moment", str(FOREVER))
        until = until if self.span is None else f"least({until}, moment + {self.span})"
        ends = until != str(FOREVER)
        where = f"({self.where})" + (f" AND {by[0]} IN (SELECT {by[0]} FROM {asking})" if by else "")
        where += f" AND {until} > {since}" if ends else ""

        def select(at: str, sign: str, condition: str) -> str:
            values = {name: f"{sign}({value})" for name, value in self.values.items()}
            more = [f"{values.get(name, nothing)} AS {name}_more" for name, nothing in columns.items()]
            head = [*by, f"{at} AS known", "1 AS later", "'' AS request_id", "0 AS place"]
            return f"SELECT {', '.join([*head, *more])} FROM {self.source} WHERE {condition}"

        taken = [select(until, "-", f"{where} AND {until} < {FOREVER}")] if ends else []
        return [select(since, "", where), *taken]


def as_of(
    *known: Known,
    by: tuple[str, ...] = (),
    of: Of = Of.ROW,
    latest: tuple[str, ...] = (),
    finish: Mapping[str, str] | None = None,
    sources: str = "",
    asking: str | None = None,
) -> StatisticQuery:
    """The sums of what is `known` under the key `by` of each row or request; of the `latest` columns the greatest.

    `finish`: formulas over the sums, `<column>_sum` of each, and `known`, the request's time in microseconds; None =
    the sums. `sources`: further sources, and the one that is `asking`; None = what `of` says.
    """
    asking = asking or ("candidates" if of is Of.ROW else "visitors")
    names = dict.fromkeys(name for part in known for name in part.values)
    columns = {name: "CAST(NULL AS Nullable(Int64))" if name in latest else "0" for name in names}
    moves = [move for part in known for move in part.moves(by, columns, asking=asking)]
    nothing = [f"{value} AS {name}_more" for name, value in columns.items()]
    keys = [*by, "moment AS known", "0 AS later", "request_id", "place" if of is Of.ROW else "0 AS place", *nothing]
    union = "\n    UNION ALL ".join([*moves, f"SELECT {', '.join(keys)} FROM {asking}"])
    sums = [f"{'max' if name in latest else 'sum'}({name}_more) OVER past AS {name}_sum" for name in columns]
    answers = finish or {name: f"{name}_sum" for name in columns}
    finished = [f"{formula} AS {name}" for name, formula in answers.items()]
    head = ["request_id", "place"] if of is Of.ROW else ["request_id"]
    partition = f"PARTITION BY {', '.join(by)} " if by else ""
    body = f"""{sources}moves AS (
    {union})
SELECT {", ".join([*head, *finished])}
FROM (
    SELECT request_id, place, known, later, {", ".join(sums)}
    FROM moves
    WINDOW past AS ({partition}ORDER BY known, later ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS merged
WHERE later = 0"""
    return StatisticQuery(of, {name: NEVER if name in latest else 0.0 for name in answers}, body)


def when(condition: str) -> str:
    """1 where the condition holds, else 0."""
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"
