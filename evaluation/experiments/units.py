"""Units of assignment: what of a request is drawn into a variant as a whole, from its slate or as it arrives.

user = the shopper; session = the visit; merchant = whose store page it is; city_time = the context's city and which
window of `window_hours` since 1970 the request falls into. A request that lacks its unit is in no variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.experiments.experiment_file import AssignmentUnit, Experiment
from marketplace import slate_columns

CITY = "city"  # entry of the context
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unit_of(
    experiment: Experiment,
    *,
    user_id: str,
    session_id: str | None,
    merchant_id: str | None,
    context: Mapping[str, str],
    time: datetime,
) -> str | None:
    """The request's unit in an experiment; None where it lacks one."""
    match experiment.unit:
        case AssignmentUnit.USER:
            return user_id
        case AssignmentUnit.SESSION:
            return session_id
        case AssignmentUnit.MERCHANT:
            return merchant_id
    city, window = context.get(CITY), timedelta(hours=experiment.window_hours)
    return f"{city} {(time - EPOCH) // window}" if city else None


def unit_column(slates: pa.Table, experiment: Experiment) -> pa.Array:
    """string [slates]: each row's unit, null where it lacks one."""
    columns = {
        AssignmentUnit.USER: "user_id",
        AssignmentUnit.SESSION: "session_id",
        AssignmentUnit.MERCHANT: "page_merchant_id",
    }
    if experiment.unit in columns:
        return slates[columns[experiment.unit]].cast(pa.string()).combine_chunks()
    window = int(timedelta(hours=experiment.window_hours) / timedelta(microseconds=1))
    number = pa.array(slates["time"].cast(pa.int64()).to_numpy() // window)
    city = slate_columns.context(slates, CITY)
    city = pc.if_else(pc.equal(city, ""), pa.scalar(None, pa.string()), city)
    return pc.binary_join_element_wise(city, number.cast(pa.string()), " ")
