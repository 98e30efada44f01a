"""Units of assignment: what of a request is drawn into a variant as a whole, as it arrives.

user = the shopper; session = the visit; merchant = whose store page it is; city_time = the context's city and which
window of `window_hours` since 1970 the request falls into. A request that lacks its unit is in no variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from evaluation.experiments.experiment_file import AssignmentUnit, Experiment
from marketplace.schema import EPOCH

CITY = "city"  # entry of the context


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
