"""Read two experiments as one two-sided design: shoppers drawn by one, the merchants of store pages by the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from evaluation.experiments.experiment_file import AssignmentUnit, Experiment, load_experiment
from evaluation.experiments.exposure import variant_column
from evaluation.experiments.metrics import EXPERIMENT_METRICS
from evaluation.experiments.two_sided import two_sided
from evaluation.experiments.unit_table import request_columns, unrecorded
from jobs.read_experiment import currency_of, joined_log
from jobs.tables import print_section
from marketplace.attribution import Attribution
from marketplace.keys import one_array
from marketplace.log_place import Place, shown_place

MEANS = {
    "both": "changing both sides, against neither",
    "shoppers": "treated shoppers at merchants as in force",
    "merchants": "treated merchants, to shoppers as in force",
    "together": "what neither side does alone",
}


def read_two_sides(source: Place, shoppers: Path, merchants: Path) -> int:
    """0; print what each side does to the primary metric of `shoppers`, per page where that metric is per unit.

    Raises ValueError where the files are not of a user's and a merchant's unit with one treatment each, or share no
    slate.
    """
    sides = load_experiment(shoppers), load_experiment(merchants)
    for experiment, unit in zip(sides, (AssignmentUnit.USER, AssignmentUnit.MERCHANT), strict=True):
        if experiment.unit is not unit or len(experiment.treatments) != 1:
            treatments = len(experiment.treatments)
            raise ValueError(
                f"{experiment.name!r} has the unit {experiment.unit.value} and {treatments} treatments: "
                "two sides are read from a file of unit user and one of unit merchant, with one treatment each."
            )
    joined = joined_log(source)
    metric, requests = EXPERIMENT_METRICS[sides[0].metrics.primary], request_columns(joined)
    below = metric.denominator if metric.denominator in requests else "requests"
    if metric.numerator not in requests:
        raise ValueError(f"{unrecorded(metric.numerator)}: choose another primary metric.")
    arms = [_arm(joined, experiment) for experiment in sides]
    rows = np.flatnonzero((arms[0] >= 0) & (arms[1] >= 0))
    if not len(rows):
        raise ValueError(f"{shown_place(source)} holds no store page of both experiments: have they begun?")
    contrasts = two_sided(
        requests[metric.numerator][rows],
        requests[below][rows],
        shopper=_codes(joined, "user_id")[rows],
        merchant=_codes(joined, "page_merchant_id")[rows],
        shopper_arm=arms[0][rows],
        merchant_arm=arms[1][rows],
    )
    table = [(name, MEANS[name], str(contrast.fixed())) for name, contrast in contrasts.items()]
    title = f"{metric.numerator.replace('_', ' ')} per {below.rstrip('s')}, {len(rows):,} store pages"
    caption = f"Intervals at one look, clustered by shopper and by merchant; amounts in {currency_of(joined)}."
    print_section(("side", "what it does", "difference"), table, title=title, caption=caption)
    return 0


def _arm(joined: Attribution, experiment: Experiment) -> np.ndarray:
    """int [R]: 0 = the control, 1 = the treatment, -1 = neither."""
    variant = variant_column(joined.slates, experiment.name)
    return np.select([variant == experiment.control, variant == experiment.treatments[0].name], [0, 1], -1)


def _codes(joined: Attribution, column: str) -> np.ndarray:
    encoded = one_array(one_array(joined.slates[column]).cast(pa.string())).dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
