"""Embeddings for other teams: a run's shoppers, items, sessions and search texts as unit vectors of one space.

What lies near each other goes together, whatever the two are: the inner product of a shopper, session or query with an
item is the towers' own score. Four Parquet files, each with the column `embedding` (a fixed-size list of float32) and,
as metadata of its schema, `dimensions`, `known_until` and the run:

- items.parquet: item_id. The item tower.
- shoppers.parquet: user_id. The query tower as if the shopper came back once everything was recorded, in the context
  of their latest request; of a shopper without one, without context.
- sessions.parquet: session_id, user_id, time. The query tower at the session's latest request.
- queries.parquet: query, requests. The mean of the query tower over the requests that searched for this text.

With `nearest`, each row has what lies nearest to it, too: of items and shoppers their like, of sessions and search
texts items. That is found through the run's index, and one of its kind over the shoppers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.backfill import backfill
from features.encoder import Encoder
from features.spec import FeatureFrame
from jobs.data import kept
from jobs.export import last_moment
from jobs.run_folder import RunFolder
from marketplace.baskets import slates_of
from marketplace.dataset import Dataset
from marketplace.schema import SLATE
from marketplace.slate_columns import PLAIN_SLATE
from retrieval.build import build_index, load_index
from retrieval.index import CandidateIndex
from retrieval.labelled_requests import labelled_requests
from retrieval.two_tower import TwoTower

SAMPLE = 1000  # shoppers whose neighbours are searched to measure the index


def embed(folder: Path, out: Path, *, nearest: int = 0) -> None:
    """Write the embeddings of run `folder` to `out`, each with so many `nearest`; ValueError where it has no towers."""
    run = RunFolder.open(folder)
    retrieval = run.path / "retrieval"
    if not (retrieval / "two_tower.json").exists():
        raise ValueError(f"{folder} has no towers: its data recorded nothing, or its retrieval is not trained yet.")
    dataset, towers = kept(run.path), TwoTower.load_towers(retrieval)
    encoder = Encoder.from_json((retrieval / "encoder.json").read_text())
    until = last_moment(dataset, now=datetime.now(UTC)) + 1
    labelled = labelled_requests(dataset, encoder.spec, segment=dataset.segment)
    slates = labelled.slates
    requests = embedded(labelled.frame, encoder, towers)
    index, item_ids = load_index(retrieval / "index")
    shoppers = returning(dataset, slates, until=until)
    latest = latest_rows(slates, "session_id")
    query, count, mean = by_query(slates, requests)
    tables: dict[str, tuple[Mapping[str, pa.Array], np.ndarray]] = {
        "items": ({"item_id": pa.array(item_ids)}, index.embeddings),
        "shoppers": (
            {"user_id": text(shoppers["user_id"])},
            embedded(backfill(dataset, shoppers, spec=encoder.spec), encoder, towers),
        ),
        "sessions": (
            {name: of_rows(slates, name, latest) for name in ("session_id", "user_id", "time")},
            requests[latest],
        ),
        "queries": ({"query": query, "requests": count}, mean),
    }
    if nearest:
        users = tables["shoppers"][1]
        alike = build_index(index.report.kind, users, queries=users[:: len(users) // SAMPLE + 1], config=index.config)
        items, names = (index.index, pa.array(item_ids)), text(shoppers["user_id"])
        searched = {"items": items, "shoppers": (alike.index, names), "sessions": items, "queries": items}
        for name, (columns, embeddings) in tables.items():
            found = nearest_of(*searched[name], embeddings, k=nearest, without_self=name in ("items", "shoppers"))
            tables[name] = ({**columns, **found}, embeddings)
    out.mkdir(parents=True, exist_ok=True)
    about = {"dimensions": str(towers.config.dimensions), "known_until": str(until), "run": str(folder)}
    for name, (columns, embeddings) in tables.items():
        pq.write_table(with_embeddings(columns, embeddings).replace_schema_metadata(about), out / f"{name}.parquet")
        print(f"{out / name}.parquet: {len(embeddings):,} x {embeddings.shape[1]}")


def embedded(frame: FeatureFrame, encoder: Encoder, towers: TwoTower) -> np.ndarray:
    """float32 [R, d]: the query tower of each request."""
    inputs = encoder.encode(frame)
    return towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)


def returning(dataset: Dataset, slates: pa.Table, *, until: int) -> pa.Table:
    """A SLATE row a shopper, at `until` (UTC microseconds): their latest request, or one that says nothing."""
    latest = slates.take(pa.array(latest_rows(slates, "user_id")))
    users = text(dataset.users["user_id"])
    others = users.filter(pc.invert(pc.is_in(users, text(latest["user_id"]))))
    plain = {"request_id": others, "user_id": others, "surface": pa.array(["home"] * len(others))}
    plain |= {
        "currency": pa.array([dataset.currency] * len(others)),
        "time": pa.array([until] * len(others), pa.int64()),
    }
    nothing = {field.name: pa.nulls(0, field.type.value_type) for field in SLATE if pa.types.is_list(field.type)}
    unseen = slates_of(plain, nothing, np.zeros(len(others) + 1, np.int64))
    both = pa.concat_tables([latest.cast(PLAIN_SLATE), unseen.cast(PLAIN_SLATE)])
    moment = pa.array(np.full(len(both), until), pa.int64()).cast(SLATE.field("time").type)
    return both.set_column(both.column_names.index("time"), PLAIN_SLATE.field("time"), moment).combine_chunks()


def latest_rows(slates: pa.Table, name: str) -> np.ndarray:
    """int64: the last row, by time, of each value of a column, those without one left out; in the order of the rows."""
    values = pd.DataFrame({"of": text(slates[name]).to_pandas(), "time": slates["time"].to_pandas()})
    last = values.dropna(subset="of").sort_values("time", kind="stable").drop_duplicates("of", keep="last")
    return np.sort(last.index.to_numpy())


def by_query(slates: pa.Table, embeddings: np.ndarray) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """(search texts, requests of each, unit means of their embeddings float32 [n, d])."""
    codes = text(slates["query"]).dictionary_encode()
    searched = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    code = codes.indices.fill_null(0).to_numpy(zero_copy_only=False)[searched]
    total = np.zeros((len(codes.dictionary), embeddings.shape[1]), np.float32)
    np.add.at(total, code, embeddings[searched])
    mean = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return codes.dictionary, pa.array(np.bincount(code, minlength=len(total))), mean


def nearest_of(
    index: CandidateIndex, names: pa.Array, embeddings: np.ndarray, *, k: int, without_self: bool
) -> dict[str, pa.Array]:
    """`nearest`, the `names` of at most k rows of the index, best first, and `product`, their inner products.

    `without_self`: the embeddings [n, d] are those of the index, and none is its own neighbour.
    """
    rows, products = index.search(embeddings, k=min(k + without_self, len(names)))
    kept = rows >= 0
    if without_self:
        kept &= rows != np.arange(len(rows))[:, None]
    kept &= np.cumsum(kept, axis=1) <= k
    ends = pa.array(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]), pa.int32())
    values = {"nearest": names.take(pa.array(rows[kept])), "product": pa.array(products[kept])}
    return {name: pa.ListArray.from_arrays(ends, column) for name, column in values.items()}


def with_embeddings(columns: Mapping[str, pa.Array], embeddings: np.ndarray) -> pa.Table:
    """The columns, and `embedding`."""
    values = pa.array(np.ascontiguousarray(embeddings, np.float32).ravel())
    return pa.table(dict(columns) | {"embedding": pa.FixedSizeListArray.from_arrays(values, embeddings.shape[1])})


def of_rows(slates: pa.Table, name: str, rows: np.ndarray) -> pa.Array:
    """A column at some rows, without dictionary."""
    column = slates[name] if name == "time" else slates[name].cast(pa.string())
    return column.take(pa.array(rows)).combine_chunks()


def text(column: pa.ChunkedArray) -> pa.Array:
    """A column of strings, in one piece and without dictionary."""
    return column.cast(pa.string()).combine_chunks()
