"""trivago as served: do weightings of the value formula rank better than any single objective, on held-out views?

The heads (position unknown; stopped and calibrated on the validation period) are valued by two formulas, a sum in EUR
and a product of powers. Both are swept; the front is the weightings that no other beats on the validation views in all
three of

    click, order (number) and value (EUR) per view = mean over views of
        sum over items of what happened to the item in the view / log2(1 + its place), first 10 places

DCG and not NDCG: in a view with one order NDCG cancels the price, so that value would be order under another name.
For each single objective the front's point is picked that is the surest to beat it on the validation views: the
greatest of its least difference in standard errors. Test views are used once, for the differences of these picks. With
paired 95 % intervals over views, a pick *dominates* when no interval lies below 0 and one lies above 0; in all three
figures when, besides, no difference is below 0.

No list was randomised: what happened was shown by trivago's ranking, so that items which it put high are favoured in
every ranking judged here, and "position shown" is no rival but the origin of what is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.record import Measure, record
from benchmarks.trivago.lists import Lists, lists
from benchmarks.trivago.rankers import Heads, calibrated, unknown_heads
from evaluation import plots, ranking
from evaluation.bootstrap import Resampled, means, resample
from evaluation.estimate import Estimate
from marketplace.slate_columns import pad, slate_mask
from value_model.formula import ValuePolicy, evaluate, load_policy
from value_model.rankers.batches import request_offsets
from value_model.rankers.config import TreesConfig
from value_model.rankers.ranker import RankingData
from value_model.rankers.trees import Trees
from value_model.tuning import Sweep
from value_model.tuning.front import nondominated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME, SEED, TRIED, PLACES, REPLICATES = "trivago_frontier", 0, 1500, 10, 1000
SEEDS = range(SEED, SEED + 5)  # of the MMoE's trainings; the first is the one that is shown
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
REWARDS = {"click": "click / view", "order": "order / view", "value": "EUR / view"}
SINGLE = ("ctr", "ctcvr", "gmv", "order_value")
POLICIES = tuple(load_policy(Path(__file__).parent / "trivago" / f"{name}.toml") for name in ("sum", "product"))
Columns = Mapping[str, np.ndarray]
Judged = Mapping[str, Sequence[Resampled]]  # by ranking: the figures of REWARDS on the same bootstrap samples


def tried(policy: ValuePolicy, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weightings within the bounds, even on a logarithmic scale: [TRIED] a weight."""
    return {w.name: np.exp(rng.uniform(np.log(w.low), np.log(w.high), TRIED)) for w in policy.weights}


def front(heads: Columns, data: RankingData, rng: np.random.Generator) -> dict[str, ValuePolicy]:
    """The weightings of POLICIES that none beats in all of REWARDS, by name."""
    mask = slate_mask(offsets(data))
    shuffled = np.lexsort((rng.random(len(data.position)), data.inputs.request))  # equal values: not in the shown order
    columns = {name: pad(head[shuffled], mask) for name, head in heads.items()}
    credits = np.stack([pad(reward[shuffled], mask) for reward in rewards(data)], axis=2)
    looks = np.broadcast_to(1 / np.log2(np.arange(PLACES) + 2), (len(mask), PLACES))
    policies, levels = [], []
    for policy in POLICIES:
        weights = tried(policy, rng)
        sweep = Sweep(policy, columns, mask=mask)
        levels.append(sweep.credit(weights, examination=looks, credits=credits).mean(axis=1))
        policies += [policy.with_weights({n: w[i] for n, w in weights.items()}) for i in range(TRIED)]
    return {label(policies[i]): policies[i] for i in np.flatnonzero(nondominated(np.concatenate(levels)))}


def label(policy: ValuePolicy) -> str:
    return f"{policy.name} ({', '.join(f'{w.name} {w.value:.3g}' for w in policy.weights)})"


def offsets(data: RankingData) -> np.ndarray:
    return request_offsets(data.inputs.request, len(data.inputs.user_codes))


def rewards(data: RankingData) -> tuple[np.ndarray, ...]:
    return data.labels["click"], data.labels["order"], data.labels["order_value"]


def judged(scores: Mapping[str, np.ndarray], data: RankingData) -> Judged:
    """REWARDS of rankings by `scores` [N] each, paired by view."""
    counts = resample(len(data.inputs.user_codes), np.random.default_rng(SEED), replicates=REPLICATES)
    ranked = {name: ranking.rank(score, offsets(data)) for name, score in scores.items()}
    return {
        name: means(np.column_stack([ranking.dcg(r, reward, k=PLACES) for reward in rewards(data)]), counts)
        for name, r in ranked.items()
    }


def against(figures: Judged, point: str, single: str) -> list[Resampled]:
    return [a - b for a, b in zip(figures[point], figures[single], strict=True)]


def least_sure(differences: Sequence[Resampled]) -> float:
    """The smallest difference in standard errors; 0 where both rankings are the same."""
    return min(d.value / max(float(d.draws.std()), 1e-12) for d in differences)


def compared(heads: str, picks: Mapping[str, str], figures: Judged, *, bar: str | None) -> list[Measure]:
    """The picks' differences from the single objectives, and the verdicts."""
    rows, verdicts = [], []
    for single, point in picks.items():
        differences = [d.estimate() for d in against(figures, point, single)]
        rows += levels(f"{heads}, front - {single} alone", differences)
        name = f"{heads}: {single} alone is dominated by {point}"
        verdicts.append(Measure(name, float(dominates(differences)), "1 = yes", bar))
    return rows + verdicts


def dominates(differences: Sequence[Estimate], *, no_figure_lower: bool = False) -> bool:
    nothing_lost = all((d.value if no_figure_lower else d.high) >= 0 for d in differences)
    return nothing_lost and any(d.low > 0 for d in differences)


def tally(name: str, pairs: Sequence[tuple[Judged, Mapping[str, str]]]) -> list[Measure]:
    """How many of the comparisons of one or several sets of heads are won."""
    every = [[d.estimate() for d in against(f, p, single)] for f, picks in pairs for single, p in picks.items()]
    strict = sum(dominates(differences, no_figure_lower=True) for differences in every)
    unit = f"of {len(every)}"
    return [
        Measure(f"{name}: dominated", sum(map(dominates, every)), unit),
        Measure(f"{name}: dominated, no figure lower", strict, unit),
    ]


def levels(name: str, estimates: Sequence[Estimate]) -> list[Measure]:
    return [
        Measure(f"{name}: {reward}", e.value, unit, None, (e.low, e.high))
        for (reward, unit), e in zip(REWARDS.items(), estimates, strict=True)
    ]


def frontier(heads: Heads, data: Lists) -> tuple[Judged, dict[str, str], list[str]]:
    """(the test views' figures, each single objective's pick, the front's names): all but the first from validation."""
    later, test = heads(data.validation), heads(data.test)
    points = front(later, data.validation, np.random.default_rng(SEED))
    before, after = (
        judged({p: evaluate(policy, columns) for p, policy in points.items()} | {s: columns[s] for s in SINGLE}, rows)
        for columns, rows in ((later, data.validation), (test, data.test))
    )
    picks = {s: max(points, key=lambda point, s=s: least_sure(against(before, point, s))) for s in SINGLE}
    return after, picks, list(points)


def draw(figures: Judged, picks: Mapping[str, str], points: Sequence[str]) -> None:
    """The front on the test views, and the picks' differences (without price alone, which is far behind)."""

    def spot(name: str) -> plots.Point:
        click, order, value = (level.estimate() for level in figures[name])
        return click, value, order

    beaten = {f"{single} alone": (spot(single), spot(point)) for single, point in picks.items()}
    labels = ("clicks / view", "EUR / view", "orders / view")
    save(plots.front([spot(point) for point in points], beaten, labels=labels), "front")
    shares = {
        f"{single} alone": {
            reward: percent(d.estimate(), of=level.value)
            for reward, d, level in zip(REWARDS, against(figures, point, single), figures[single], strict=True)
        }
        for single, point in picks.items()
        if single != "order_value"
    }
    save(plots.intervals(shares, label="the front's point against it, %"), "dominance")


def percent(difference: Estimate, *, of: float) -> Estimate:
    value, low, high = (100 * x / of for x in (difference.value, difference.low, difference.high))
    return Estimate(value, low, high, difference.n)


def save(figure: Figure, name: str) -> None:
    figure.savefig(PICTURES / f"trivago_{name}.png", dpi=110)


def main() -> None:
    data = lists("as_served", benchmark=NAME, shown=False)
    trees = Trees.fit(data.train, spec=data.encoder.spec, config=TreesConfig(products=True))
    twin, twin_picks, _ = frontier(calibrated(lambda rows: trees.predict(rows.inputs), data.validation), data)
    networks = [frontier(unknown_heads(data, seed=seed), data) for seed in SEEDS]
    mmoe, picks, points = networks[0]
    draw(mmoe, picks, points)
    shown = judged({"position shown": -data.test.position}, data.test)
    measures = []
    for name, figures in {**shown, **{f"MMoE, {single} alone": mmoe[single] for single in SINGLE}}.items():
        measures += levels(name, [level.estimate() for level in figures])
    measures += compared("MMoE", picks, mmoe, bar=">= 1")
    measures += tally(f"MMoE, {len(SEEDS)} trainings", [network[:2] for network in networks])
    measures += compared("LightGBM", twin_picks, twin, bar=None) + tally("LightGBM", [(twin, twin_picks)])
    record(NAME, measures, data="trivago as served: chosen on validation, judged on the last 20 % of views", seed=SEED)


if __name__ == "__main__":
    main()
