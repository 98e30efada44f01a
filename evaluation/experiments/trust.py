"""Trust: may the effects be read at all? What randomisation promises is checked before what the variant does.

Each check says what it looked at in one sentence. `broken` = the comparison is not one of like with like; `doubt` =
something is odd that chance seldom does; `good`; `unknown` = it could not be checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import chi2_contingency

from evaluation.experiments.effects import Ratio, effect
from evaluation.experiments.experiment_file import Experiment
from evaluation.experiments.multiple import holm
from evaluation.experiments.srm import ratio_check
from evaluation.experiments.sums import unit_sums
from evaluation.experiments.unit_table import SUFFIX, UnitTable

ALARM, DOUBT = 0.001, 0.01
DAY = 86_400_000_000  # us
BOT_REQUESTS, BOT_SPREAD = 100, 5.0  # fewest requests of a bot; standard deviations of log requests above the median
FEWEST_EXPECTED = 5  # units expected in a cell of a dimension's table


class TrustLevel(StrEnum):
    GOOD = "good"
    DOUBT = "doubt"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TrustCheck:
    """`p_value` is NaN where the check is not a test."""

    name: str
    level: TrustLevel
    sentence: str
    p_value: float = np.nan


def trust_checks(table: UnitTable, experiment: Experiment, *, stopped: Collection[str] = ()) -> list[TrustCheck]:
    """Sample ratio, pre-period bias, exposure by dimension, bots, units that met several variants.

    Variants that were `stopped` get no more units, so that the ratio is that of the others.
    """
    return [
        sample_ratio(table, experiment, stopped=stopped),
        pre_period(table, experiment),
        *exposure_by_dimension(table, experiment),
        bots(table),
        carry_over(table),
    ]


def sample_ratio(table: UnitTable, experiment: Experiment, *, stopped: Collection[str] = ()) -> TrustCheck:
    """The sequential test over the days at which units first came."""
    shares = np.array([variant.share for variant in experiment.variants])
    going = [at for at, name in enumerate(table.variants) if name not in stopped]
    if len(going) < 2:
        return TrustCheck("sample ratio", TrustLevel.UNKNOWN, "All variants but one were stopped.")
    day = (table.first - table.first.min(initial=0)) // DAY
    counts = np.zeros((int(day.max(initial=0)) + 1, len(shares)))
    np.add.at(counts, (day, table.variant), 1)
    check = ratio_check(counts.cumsum(axis=0)[:, going], shares[going])
    parts = ", ".join(
        f"{table.variants[at]} {table.counts()[at]:,} of {check.units:,} (promised {promised:.1%})"
        for at, promised in zip(going, check.promised, strict=True)
    )
    return TrustCheck("sample ratio", _trust_level(check.p_value), f"Units by variant: {parts}.", check.p_value)


def pre_period(table: UnitTable, experiment: Experiment) -> TrustCheck:
    """Differences between the variants before the experiment began, of what was recorded of the same units."""
    names = [name for name in table.columns if name.endswith(SUFFIX)]
    if not names:
        return TrustCheck("before the start", TrustLevel.UNKNOWN, "Nothing is known of these units before the start.")
    sums = unit_sums({name: table.columns[name] for name in names}, table.variant, groups=len(table.variants))
    control = table.variants.index(experiment.control)
    labels, p = [], []
    for at, variant in enumerate(table.variants):
        for name in names if at != control else ():
            contrast = effect(sums[control].means, sums[at].means, Ratio(name))
            labels.append(f"{name.removesuffix(SUFFIX).replace('_', ' ')} of {variant}")
            p.append(float(contrast.p_value) if not contrast.reason else np.nan)
    adjusted = holm(np.array(p))
    if np.isnan(adjusted).all():
        return TrustCheck("before the start", TrustLevel.UNKNOWN, "Nothing is known of these units before the start.")
    worst = int(np.nanargmin(adjusted))
    odd = adjusted[worst] < DOUBT
    sentence = (
        f"Before the start the variants differ in {labels[worst]}: carry-over of something earlier, or unlucky draws; "
        "read the adjusted effects."
        if odd
        else f"Before the start the variants were alike in {len(names)} measures."
    )
    return TrustCheck(
        "before the start", TrustLevel.DOUBT if odd else TrustLevel.GOOD, sentence, float(adjusted[worst])
    )


def exposure_by_dimension(table: UnitTable, experiment: Experiment) -> Iterator[TrustCheck]:
    """Chi-squared of units by variant and part; small parts are one."""
    tables = {name: _contingency(table, parts, experiment) for name, parts in table.segments.items()}
    tables = {name: counts for name, counts in tables.items() if min(counts.shape) > 1}
    p = holm(np.array([chi2_contingency(counts, correction=False).pvalue for counts in tables.values()]))
    for (name, counts), value in zip(tables.items(), p.tolist(), strict=True):
        alike = "the same" if _trust_level(value) is TrustLevel.GOOD else "different"
        sentence = f"The variants hold {alike} shares of the {len(counts)} parts."
        yield TrustCheck(f"exposure by {name}", _trust_level(value), sentence, value)


def bots(table: UnitTable) -> TrustCheck:
    """Units with far more requests than any shopper, and their part of all impressions."""
    marked = bot_units(table)
    if not marked.any():
        return TrustCheck("bots", TrustLevel.GOOD, "No unit asks for far more pages than the others do.")
    impressions = table.columns["impressions"]
    part = impressions[marked].sum() / max(impressions.sum(), 1)
    counts = ", ".join(f"{name} {count}" for name, count in zip(table.variants, table.counts(marked), strict=True))
    sentence = f"{marked.sum()} units ask like machines ({counts}), {part:.1%} of impressions: they are left out."
    return TrustCheck("bots", TrustLevel.DOUBT, sentence)


def bot_units(table: UnitTable) -> np.ndarray:
    """bool [U]: at least BOT_REQUESTS, and log requests BOT_SPREAD robust standard deviations above the median."""
    requests = table.columns["requests"]
    if not len(requests):
        return np.zeros(0, bool)
    logs = np.log(requests)
    spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs)))) or 1.0
    return (requests >= BOT_REQUESTS) & (logs > np.median(logs) + BOT_SPREAD * spread)


def carry_over(table: UnitTable) -> TrustCheck:
    """Units that met more than one variant."""
    crossed = int(table.crossed.sum())
    if not crossed:
        return TrustCheck("one variant each", TrustLevel.GOOD, "No unit met more than one variant.")
    share = crossed / len(table)
    sentence = f"{crossed:,} units ({share:.2%}) met more than one variant; each counts for its first."
    return TrustCheck("one variant each", TrustLevel.DOUBT if share > DOUBT else TrustLevel.GOOD, sentence)


def _trust_level(p_value: float) -> TrustLevel:
    return TrustLevel.BROKEN if p_value < ALARM else TrustLevel.DOUBT if p_value < DOUBT else TrustLevel.GOOD


def _contingency(table: UnitTable, parts: np.ndarray, experiment: Experiment) -> np.ndarray:
    """[parts, variants] of units, of the variants that have any; parts that expect too few of one are added up."""
    names, code = np.unique(parts, return_inverse=True)
    counts = np.zeros((len(names), len(table.variants)))
    np.add.at(counts, (code, table.variant), 1)
    least = min(variant.share for variant in experiment.variants)
    small = counts.sum(axis=1) * least < FEWEST_EXPECTED
    rest = counts[small].sum(axis=0, keepdims=True)
    kept = counts[~small] if rest.sum() * least < FEWEST_EXPECTED else np.concatenate([counts[~small], rest])
    return kept[:, kept.sum(axis=0) > 0]
