"""What experiments read of a service's log, kept in memory and read on from where the last look ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from marketplace.attribution import Attribution, attribute
from marketplace.log_place import Place
from marketplace.open_log import open_log
from marketplace.schema import FEEDBACK, LIST_ODDS, LIST_PLACE, RIVAL_ODDS, SLATE, empty
from marketplace.slate_columns import RequestLists, lists, map_of_lists, names, numeric_features

MOST = 5_000  # slates read at once
FEATURE = "newness"  # the one logged feature that a metric reads
LEFT_OUT = {"weights", "categorical", "source", "retrieval_score"}
LEFT_OUT |= {"merchant_value", "value", "propensity"}
COLUMNS = tuple(name for name in SLATE.names if name not in LEFT_OUT)


class ExperimentLog:
    """The slates and events of the log at `place` from `since` on, without what was computed of the items."""

    def __init__(self, place: Place, *, since: datetime) -> None:
        self.place, self.since = place, since
        self._slates, self._feedback = [empty(SLATE).select(COLUMNS)], [empty(FEEDBACK)]
        self._slate_mark = self._feedback_mark = 0

    def joined(self) -> Attribution | None:
        """All that arrived so far, feedback joined; None before the first slate. Raises SchemaError, LogUnavailable."""
        log = open_log(self.place)
        try:
            while True:
                before = self._slate_mark
                slates, self._slate_mark = log.shown_after(before, since=self.since, most=MOST, columns=COLUMNS)
                if len(slates):
                    self._slates.append(kept(slates))
                if self._slate_mark - before < MOST:
                    break
            events, self._feedback_mark = log.feedback_after(self._feedback_mark, since=self.since)
            self._feedback.append(events)
        finally:
            log.close()
        self._slates = [pa.concat_tables(self._slates).combine_chunks()]
        self._feedback = [pa.concat_tables(self._feedback).combine_chunks()]
        return attribute(self._slates[0], self._feedback[0]) if len(self._slates[0]) else None


def kept(slates: pa.Table) -> pa.Table:
    """The slates with the one feature that is read, and of interleaved ones what their reading needs."""
    mixed = [name for name in names(slates, "numeric") if name.startswith((LIST_PLACE, LIST_ODDS, RIVAL_ODDS))]
    columns = {name: numeric_features(slates, name) for name in (FEATURE, *mixed)}
    slates = _with_lists(slates, "numeric", columns)
    return _with_lists(slates, "predictions", {"ctr": lists(slates, "predictions", "ctr")} if mixed else {})


def _with_lists(slates: pa.Table, column: str, cells: Mapping[str, RequestLists]) -> pa.Table:
    """The slates with these lists alone in a map column."""
    field = SLATE.field(column)
    values = map_of_lists(cells, requests=len(slates), values=field.type.item_type.value_type)
    return slates.set_column(slates.schema.get_field_index(column), field, values)
