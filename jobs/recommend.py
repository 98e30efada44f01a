"""One explained slate, from the engine itself or over HTTP, as a table that people can read."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.tables import print_answer
from marketplace.dataset import Dataset
from marketplace.memory_log import MemoryLog
from serving.answers import slate_answer
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.manifest import bundle_of
from serving.payloads import RecommendRequest


def recommend(folder: Path, *, user: str | None, surface: str, k: int, query: str | None = None) -> None:
    """Print the slate that the bundle of run `folder` would answer at the end of its data; nothing is logged."""
    bundle = load_bundle(bundle_of(folder))
    engine = build_engine(bundle, log=MemoryLog())
    fields = question(bundle, user=user, surface=surface, k=k) | ({} if query is None else {"query": query})
    payload = RecommendRequest(**fields)
    request = payload.to_request(request_id=uuid.uuid4().hex, now=known_until(bundle), spec=bundle.encoder.spec)
    ranking = engine.rank(request)
    answer = slate_answer(ranking, contributions=engine.explain(ranking.slate))
    print_answer(answer, names=names(bundle.catalogue))


def question(bundle: ModelBundle, *, user: str | None, surface: str, k: int) -> dict[str, Any]:
    """A request of `surface` at the end of the bundle's data, by `user` or the first shopper of its user table."""
    catalogue = bundle.catalogue
    known = catalogue.users["user_id"].slice(0, 1).to_pylist()
    fields: dict[str, Any] = {
        "surface": surface,
        "user_id": user or (known[0] if known else "a new shopper"),
        "time": known_until(bundle),
        "k": k,
        "explain": True,
    }
    page = {"store_page": ("page_merchant_id", "merchant_id"), "product_page": ("page_item_id", "item_id")}
    if surface in page:
        name, column = page[surface]
        fields[name] = catalogue.items[column][0].as_py()
    if surface == "search":
        fields["query"] = (catalogue.items["name"][0].as_py() or "").split(" ")[0] or "a"
    return fields


def known_until(bundle: ModelBundle) -> datetime:
    """The end of the data that the bundle was made from: later, what it knows of shoppers grows stale."""
    return datetime.fromisoformat(str(bundle.manifest.facts["known_until"]))


def names(catalogue: Dataset) -> dict[str, str]:
    """Item titles."""
    return dict(zip(catalogue.items["item_id"].to_pylist(), catalogue.items["name"].to_pylist(), strict=True))
