"""Uplift in words and tables, for the screen and the page alike."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.estimate import Estimate
from evaluation.uplift.trial import Trial
from jobs.tune.sections import Section
from jobs.uplift.answers import TargetingAnswer, TreatmentAnswer

SHOWN = ("qini", "auuc", "uplift@10%", "uplift@30%", "autoc", "slope")
METRICS = (
    "95 % intervals over units, all on rows that were not learned from. qini, auuc: 0 = no better than at random; "
    "uplift@k: treated minus control among the first k; autoc in the outcome's unit; slope: 1 = calibrated"
)
TARGETING = "Doubly robust, by models of other rows; gain = worth of outcomes less costs, over treating nobody"


def verdict(answers: Mapping[str, TreatmentAnswer], targeting: TargetingAnswer, *, learner: str) -> tuple[str, ...]:
    """Whether the learner's order is beyond chance, and whether targeting pays; the first line is the verdict."""
    name, value = next(iter(targeting.values.items()))
    lines = [_order(treatment, answer.metrics[learner], learner) for treatment, answer in answers.items()]
    gain = value.gain
    if not targeting.chosen.arm.any():
        return ("Nobody is worth treating at these costs.", *lines)
    if gain.low > 0:
        first = f"Targeting {name} pays: {gain} per row, {value.treated:.1%} treated."
    elif gain.high < 0:
        first = f"Targeting {name} loses money: {gain} per row."
    else:
        first = f"Not proven that targeting {name} pays: {gain} per row."
    price = targeting.chosen.price
    priced = [f"The budget ends before the gains do: one more of it would bring {1 + price:.3g}."] if price else []
    return (first, *priced, *lines)


def _order(treatment: str, metrics: Mapping[str, Estimate], learner: str) -> str:
    autoc, mean = metrics["autoc"], metrics["ate"]
    beyond = "orders rows beyond chance" if autoc.low > 0 else "is not proven to order rows better than chance"
    return f"{treatment}: effect {mean} per row; {learner} {beyond} (AUTOC {autoc})."


def sections(trial: Trial, answers: Mapping[str, TreatmentAnswer], targeting: TargetingAnswer) -> tuple[Section, ...]:
    """A table of metrics a treatment, then the targeting."""
    parts = [
        Section(
            f"{treatment} against {trial.arms[0]}, {answer.rows:,} rows",
            METRICS,
            ("order by", *SHOWN),
            tuple(
                (name, *(str(metrics[key]) if key in metrics else "" for key in SHOWN))
                for name, metrics in answer.metrics.items()
            ),
        )
        for treatment, answer in answers.items()
    ]
    rows = tuple(
        (name, f"{value.treated:.1%}", f"{1000 * value.cost:.4g}", str(_thousand(value.gain)))
        for name, value in targeting.values.items()
    )
    head = ("who is treated", "share", "cost per 1,000 rows", "gain per 1,000 rows")
    return (*parts, Section("Targeting", TARGETING, head, rows))


def _thousand(per_row: Estimate) -> Estimate:
    return Estimate(1000 * per_row.value, 1000 * per_row.low, 1000 * per_row.high, per_row.n, per_row.level)
