"""The categories of requests as text: user, surface, page, words of the query, entries of the context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from features.spec import FeatureSpec, Group, Kind, Source
from features.text.normal_form import tokenise
from marketplace import slate_columns
from marketplace.keys import one_array, values_of

WORDS = pa.list_(pa.string())
REQUEST_TEXT = ("user_id", "surface", "page_merchant", "page_item", "page_category", "user_country", "user_segment")


class RequestText(Mapping[str, pa.Array]):
    """Categories of a single request: Python values in `plain`, each an Arrow array of one entry when looked up."""

    def __init__(self, plain: Mapping[str, str | list[str] | None]) -> None:
        self.plain = plain

    def __getitem__(self, name: str) -> pa.Array:
        value = self.plain[name]
        return pa.array([value], WORDS if isinstance(value, list) else pa.string())

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)


def request_text(slates: pa.Table, *, users: pa.Table, items: pa.Table, spec: FeatureSpec) -> dict[str, pa.Array]:
    """Categories of SLATE rows by feature name, string [R], list<string> [R] for `query_tokens`; of USERS and ITEMS."""
    direct = {
        "user_id": slates["user_id"],
        "surface": slates["surface"],
        "page_merchant": slates["page_merchant_id"],
        "page_item": slates["page_item_id"],
        "page_category": values_of(slates["page_item_id"], items["item_id"], items["category"]),
        "user_country": values_of(slates["user_id"], users["user_id"], users["country"]),
        "user_segment": values_of(slates["user_id"], users["user_id"], users["segment"]),
    }
    text = {name: one_array(column).cast(pa.string()) for name, column in direct.items()}
    text["query_tokens"] = tokenise(slates["query"].combine_chunks())
    return text | {name: slate_columns.context(slates, name) for name in context_features(spec)}


def context_features(spec: FeatureSpec) -> list[str]:
    """The user categories that are entries of the request's context, under the same name."""
    standard = (f.name for f in spec.select(Group.USER, Kind.CATEGORY) if f.source is Source.STANDARD)
    return [name for name in standard if name not in REQUEST_TEXT]
