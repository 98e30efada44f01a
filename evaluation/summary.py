"""The report in plain lines: what was ranked, who ranks, is it believable, for whom, what it brings, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log

from evaluation.cohorts import KNOWN, NEW
from evaluation.compare import VALUE, Comparison, Metrics
from evaluation.estimate import Estimate

RATIO, AUC = ".calibration_ratio", ".auc"
TOLERANCE = 0.1  # of a calibration ratio around 1
WORDS = {"gmv": "{currency} of sales", "orders": "orders", "clicks": "clicks"}  # of totals, what counts most first
FLATTERED = "as recorded"  # stands in the places whose events it is judged on


def summary(
    comparison: Comparison,
    surfaces: Mapping[str, Comparison],
    *,
    ranked: str,
    ahead: Mapping[str, Estimate],
    policy: str,
    currency: str,
    k: int,
    cohorts: Mapping[str, Comparison] | None = None,
    warnings: Sequence[str] = (),
) -> tuple[str, ...]:
    """Five lines, six where there are `cohorts` (NEW and KNOWN ones of a kind; one may be too small to be there).

    The comparison's baseline is the served ranker, `ahead` what it is better by, as a share, by ranker. `ranked` says
    what was ranked and when; `policy` names the formula behind the value; `warnings` are further ones.
    """
    off, calibrated = _calibration(comparison.baseline, surfaces)
    unproven, brings = _brings(comparison, policy, currency=currency, k=k)
    ahead_of = ", ".join(f"{name} by {_percent(gap)}" for name, gap in ahead.items())
    worse, apart = _apart({name: one.metrics[one.baseline] for name, one in (cohorts or {}).items()})
    following = "; ".join([*off, *worse, *unproven, *warnings]) or "nothing stands out; see the tables below"
    return (
        f"What was ranked: {ranked}.",
        f"Who ranks: {comparison.baseline} is served; it is ahead of {ahead_of or 'nobody: there is no other'}.",
        calibrated,
        *apart,
        brings,
        f"What to look at next: {following}.",
    )


def _calibration(served: str, surfaces: Mapping[str, Comparison]) -> tuple[list[str], str]:
    """What is surely off, and the line."""
    ratios = {
        f"{name.removesuffix(RATIO)} on {surface}": ratio
        for surface, comparison in surfaces.items()
        for name, ratio in comparison.metrics[served].items()
        if name.endswith(RATIO) and isfinite(ratio.value) and ratio.value > 0
    }
    if not ratios:
        return [], "Predictions: no head could be judged on any surface."
    off = [name for name, r in ratios.items() if r.low > 1 + TOLERANCE or r.high < 1 - TOLERANCE]
    verdict = f"{len(off)} of {len(ratios)} are surely off by more" if off else "none is surely off by more"
    worst = max(ratios, key=lambda name: abs(log(ratios[name].value)))
    line = f"Predictions: over heads and surfaces {verdict} than {TOLERANCE:.0%}; the farthest is {worst}, "
    return [f"the calibration of {name}" for name in off], f"{line}{ratios[worst]} times what happened."


def _apart(cohorts: Mapping[str, Metrics]) -> tuple[list[str], list[str]]:
    """On which new cohorts the first probability orders rows surely worse than on the known ones, and the line."""
    metric = next((name for metrics in cohorts.values() for name in metrics if name.endswith(AUC)), "")
    areas = {name: area for name, metrics in cohorts.items() if isfinite((area := metrics[metric]).value)}
    if not areas:
        return [], []
    head = metric.removesuffix(AUC)
    lowest = {_cohort(name): area.low for name, area in areas.items()}
    known = {name: lowest.get(_cohort(name).replace(NEW, KNOWN)) for name in areas if name.startswith(NEW)}
    worse = [f"the AUC of {head} on {new}" for new, low in known.items() if low is not None and areas[new].high < low]
    parts = ", ".join(f"{area} on {name}" for name, area in areas.items())
    return worse, [f"For whom: the AUC of {head} is {parts}."]


def _cohort(name: str) -> str:
    """Without its number of rows."""
    return name.partition(" (")[0]


def _brings(comparison: Comparison, policy: str, *, currency: str, k: int) -> tuple[list[str], str]:
    """Which order of others the policy does not surely beat, and the line."""
    served = comparison.metrics[comparison.baseline]
    metric, word = next(
        ((name, word) for total, word in WORDS.items() if (name := f"{VALUE}.{total}@{k}") in served), ("", "")
    )
    if not metric:
        return [], f"What {policy} brings: the data do not tell."
    gains = {
        name: Estimate(-gap.value, -gap.high, -gap.low, gap.n)
        for name in ("popularity", FLATTERED)
        if (gap := comparison.differences.get(name, {}).get(metric)) is not None
    }
    against = ", ".join(f"{_signed(gain)} against {_order(name)}" for name, gain in gains.items())
    close = [name for name, gain in gains.items() if gain.low <= 0 and not _same(gain) and name != FLATTERED]
    word = word.format(currency=currency)
    line = f"What {policy} brings: {served[metric].value:.4g} {word} in the first {k} of a request"
    unproven = [f"why {policy} does not surely beat {name}" for name in close]
    return unproven, f"{line}; {against}." if against else f"{line}."


def _order(name: str) -> str:
    return f"the order {name}, which is judged by its own places" if name == FLATTERED else name


def _same(gain: Estimate) -> bool:
    """Whether the two orders bring the same, whatever requests are drawn: lists too short to tell them apart."""
    return gain.low == gain.high == 0


def _signed(gain: Estimate) -> str:
    if _same(gain):
        return "the same"
    return f"{gain.value:+.3g} [{gain.low:+.3g}, {gain.high:+.3g}]"


def _percent(gap: Estimate) -> str:
    return f"{gap.value:.1%} [{gap.low:.1%}, {gap.high:.1%}]"
