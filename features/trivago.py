"""The features of trivago's lists: the standard ones, and what a hotel list's own past says about it.

Everything is cut strictly before the request. `position=True` adds the position features, which are known where a
list as shown is judged, and unknown where a ranking is still to be made: no other feature reads a list's own order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.backfill import known_before
from features.definitions import count, number, standard_spec
from features.earlier_lists import Lists, latest_position, past_positions, similar_lists
from features.formulas import rank_in_list
from features.snapshot import FeatureSnapshot
from features.spec import Feature, FeatureFrame, FeatureSpec, Group
from features.touches import Touches
from features.visits import Rows, co_visits, in_visit
from marketplace import slate_columns
from marketplace.dataset import Dataset
from marketplace.splits import microseconds

CONTEXT = ("country", "city", "device", "platform", "sort", "opened_by")
# Constant or a copy of another in this data.
EMPTY = {
    "user_segment",
    "user_country",
    "surface",
    "page_merchant",
    "page_item",
    "user_carts",
    "pair_carts",
    "age_days",
}
EMPTY |= {"commission_rate", "quality", "return_rate", "refusal_rate", "weekday_sin", "weekday_cos", "merchant_id"}
EMPTY |= {"merchant_touches", "same_merchant_as_last"}
ORDERS = {  # filters that order the list
    "by_price": ("Sort by Price",),
    "by_distance": ("Focus on Distance", "Sort By Distance"),
    "by_rating": ("Focus on Rating", "Sort By Rating"),
    "best_value": ("Best Value",),
}

REQUEST = (
    *(number(Group.USER, name, f"1 = a filter orders the list: {' or '.join(of)}") for name, of in ORDERS.items()),
    count(Group.USER, "step", "actions of the visit so far"),
    count(Group.USER, "filters", "active filters"),
    count(Group.USER, "list_length", "items in the list"),
    number(Group.USER, "most_alike_overlap", "Jaccard overlap with the most alike earlier list"),
)
ITEM = (number(Group.ITEM, "id_age", "log of the numeric item id: ids grow with the date of entry"),)
CROSS = (
    count(Group.CROSS, "visit_touches", "touches of the item in this visit so far"),
    number(Group.CROSS, "visit_share", "their share of the visit's touches"),
    count(Group.CROSS, "visit_touches_since", "touches of the visit since the last of them"),
    count(Group.CROSS, "co_visits", "visits that touched it with an item of the history, per visit of that item"),
    number(Group.CROSS, "past_inverse_position", "mean of 1 / position in earlier lists"),
    count(Group.CROSS, "past_latest_position", "position in the latest earlier list"),
    count(Group.CROSS, "past_hours_since", "hours since that list"),
    number(Group.CROSS, "price_to_past", "log of price over its mean in earlier lists"),
    count(Group.CROSS, "query_position", "position in the latest earlier list of this search, filters and order"),
    number(Group.CROSS, "similar_inverse_position", "mean of 1 / position in earlier lists, weighted by likeness"),
    count(Group.CROSS, "most_alike_position", "position in the most alike earlier list"),
    number(Group.CROSS, "past_rank", "share of the list with a lower past_inverse_position"),
    number(Group.CROSS, "most_alike_rank", "share of the list with a lower most_alike_position"),
    number(Group.CROSS, "ctr_rank", "share of the list with a lower ctr_smoothed"),
    number(Group.CROSS, "ctr_share", "share of the list's sum of ctr_smoothed"),
    number(Group.CROSS, "popularity_share", "share of the list's popularity"),
)
POSITION = (
    count(Group.CROSS, "position", "position shown"),
    number(Group.CROSS, "position_from_last", "position minus that of the item touched last, where it is in the list"),
    count(Group.USER, "position_of_last", "position of the item touched last, where it is in the list"),
)


def trivago_spec(*, position: bool) -> FeatureSpec:
    """Standard features with list comparisons, trivago's own, and with `position` those that know the shown order."""
    standard = standard_spec(context=CONTEXT, text=False, against_list=True).features
    kept: tuple[Feature, ...] = tuple(feature for feature in standard if feature.name not in EMPTY)
    return FeatureSpec((*kept, *REQUEST, *ITEM, *CROSS, *(POSITION if position else ())))


def trivago_frame(dataset: Dataset, slates: pa.Table, *, position: bool) -> FeatureFrame:
    """The features of `slates` from all that `dataset` (of `read_trivago`) recorded before each of them."""
    spec = trivago_spec(position=position)
    base = FeatureSpec(tuple(f for f in spec.features if f not in (*REQUEST, *ITEM, *CROSS, *POSITION)))
    known = known_before(dataset, slates, spec=base)
    numbers = {
        **_request(slates),
        "id_age": np.log(np.array(slate_columns.flat(slates, "item_id").cast(pa.string()).cast(pa.float64()))),
        **_earlier_lists(dataset, slates, known),
        **_visit(dataset, slates, known),
        **(_positions(slates, known) if position else {}),
    }
    numbers |= _comparisons(known, numbers)
    own = {name: pa.array(np.asarray(value).astype(np.float32)) for name, value in numbers.items()}
    return FeatureFrame(spec, known.state.offsets, {**known.frame().columns, **own})


def _request(slates: pa.Table) -> dict[str, np.ndarray]:
    filters = slate_columns.context(slates, "filters").fill_null("")
    framed = pc.binary_join_element_wise("|", filters, "|", "")
    active = pc.if_else(pc.equal(filters, ""), 0, pc.add(pc.count_substring(filters, "|"), 1))
    orders = {name: sum(_holds(framed, word) for word in words) > 0 for name, words in ORDERS.items()}
    step = slate_columns.context(slates, "step").cast(pa.float64())
    return {
        **orders,
        "step": step.to_numpy(zero_copy_only=False),
        "filters": active.to_numpy(zero_copy_only=False),
        "list_length": np.diff(slate_columns.item_offsets(slates)),
    }


def _holds(framed: pa.Array, word: str) -> np.ndarray:
    return pc.match_substring(framed, f"|{word}|").to_numpy(zero_copy_only=False).astype(int)


def _earlier_lists(dataset: Dataset, slates: pa.Table, known: FeatureSnapshot) -> dict[str, np.ndarray]:
    everything = pa.concat_tables([dataset.slates, slates])
    search = [everything["query"].fill_null(""), slate_columns.context(everything, "sort")]
    search += [slate_columns.context(everything, "filters"), slate_columns.context(everything, "platform")]
    context = _codes(*search)
    query = _codes(search[0], *search[1:3], slate_columns.context(everything, "city"))
    past_size = len(dataset.slates)
    past = _lists(dataset.slates, known, context[:past_size])
    asked = _lists(slates, known, context[past_size:])
    return {
        **past_positions(asked, past),
        **similar_lists(asked, past, items=len(known.catalogue)),
        "query_position": latest_position(asked, past, asked_key=query[past_size:], past_key=query[:past_size]),
    }


def _codes(*texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 codes of the distinct combinations."""
    plain = [text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text for text in texts]
    joined = pc.binary_join_element_wise(*[text.fill_null("") for text in plain], "\x1f")
    return joined.dictionary_encode().indices.to_numpy().astype(np.int64)


def _lists(slates: pa.Table, known: FeatureSnapshot, context: np.ndarray) -> Lists:
    return Lists(
        offsets=slate_columns.item_offsets(slates),
        time=microseconds(slates["time"]),
        context=context,
        item=known.catalogue.rows(slate_columns.flat(slates, "item_id")).astype(np.int64),
        position=slate_columns.flat(slates, "position").to_numpy().astype(np.float64),
        price=slate_columns.flat(slates, "price").to_numpy(),
    )


def _visit(dataset: Dataset, slates: pa.Table, known: FeatureSnapshot) -> dict[str, np.ndarray]:
    feedback, state = dataset.feedback, known.state
    names = pa.chunked_array(
        [*feedback["session_id"].cast(pa.string()).chunks, *slates["session_id"].cast(pa.string()).chunks]
    )
    visit = _codes(names)
    touched = Touches.of(feedback, known.catalogue)  # every trivago event is a touch, so that rows correspond
    touches = Rows(visit[: len(feedback)], touched.item.astype(np.int64), touched.time)
    asked = Rows(visit[len(feedback) :][state.request], state.item.astype(np.int64), state.time[state.request])
    items = len(known.catalogue)
    together = co_visits(asked, touches, history=known.history[state.request], items=items)
    return {**in_visit(asked, touches, items=items), "co_visits": together}


def _comparisons(known: FeatureSnapshot, numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    state = known.state
    return {
        "past_rank": rank_in_list(numbers["past_inverse_position"], state.offsets),
        "most_alike_rank": rank_in_list(numbers["most_alike_position"], state.offsets),
        "ctr_rank": state.rank(state.ctr),
        "ctr_share": _share(known, state.ctr),
        "popularity_share": _share(known, state.popularity),
    }


def _share(known: FeatureSnapshot, values: np.ndarray) -> np.ndarray:
    total = np.bincount(known.state.request, values, minlength=len(known.state.time))[known.state.request]
    return values / np.where(total > 0, total, 1)


def _positions(slates: pa.Table, known: FeatureSnapshot) -> dict[str, np.ndarray]:
    state = known.state
    position = slate_columns.flat(slates, "position").to_numpy().astype(np.float64)
    last = np.full(len(state.time), np.nan)
    here = (state.item == state.last_item[state.request]) & (state.item >= 0)
    last[state.request[here]] = position[here]
    return {"position": position, "position_from_last": position - last[state.request], "position_of_last": last}
