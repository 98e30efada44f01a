"""trivago as served: do weightings of the value formula rank better than any single objective, on held-out views?

The heads (position unknown, calibrated on the validation period) are valued by two formulas, a sum in EUR and a
product of powers. Both are swept; the front is the weightings that no other beats on the validation views in all of

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
from benchmarks.trivago.rankers import Heads, calibrated, fitted_trees
from benchmarks.trivago_ranker import unknown_heads
from evaluation import plots, ranking
from evaluation.bootstrap import Resampled, means, resample
from evaluation.estimate import Estimate
from value_model.batches import request_offsets
from value_model.formula import ValuePolicy, evaluate, load_policy
from value_model.formula.evaluate import pad, slate_mask
from value_model.ranker import RankingData
from value_model.tuning import Sweep
from value_model.tuning.front import nondominated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED, TRIED, PLACES, REPLICATES = 0, 1500, 10, 1000
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
    found, levels = [], []
    for policy in POLICIES:
        weights = tried(policy, rng)
        levels.append(
            Sweep(policy, columns, mask=mask).credit(weights, examination=looks, credits=credits).mean(axis=1)
        )
        found += [policy.with_weights({n: w[i] for n, w in weights.items()}) for i in range(TRIED)]
    return {label(found[i]): found[i] for i in np.flatnonzero(nondominated(np.concatenate(levels)))}


def label(policy: ValuePolicy) -> str:
    return f"{policy.name} ({', '.join(f'{w.name} {w.value:.3g}' for w in policy.weights)})"


def offsets(data: RankingData) -> np.ndarray:
    return request_offsets(data.inputs.request, len(data.inputs.user_codes))


def rewards(data: RankingData) -> tuple[np.ndarray, ...]:
    assert data.labels.click is not None
    return data.labels.click, data.labels.order, data.labels.order_value


def judged(scores: Mapping[str, np.ndarray], data: RankingData) -> Judged:
    """REWARDS of rankings by `scores` [N] each, paired by view."""
    counts = resample(len(data.inputs.user_codes), np.random.default_rng(SEED), replicates=REPLICATES)
    ranked = {name: ranking.rank(score, offsets(data)) for name, score in scores.items()}
    return {
        name: means(np.column_stack([ranking.dcg(r, reward, k=PLACES) for reward in rewards(data)]), counts)
        for name, r in ranked.items()
    }


def against(judged: Judged, point: str, single: str) -> list[Resampled]:
    return [a - b for a, b in zip(judged[point], judged[single], strict=True)]


def least_sure(differences: Sequence[Resampled]) -> float:
    """The smallest difference in standard errors; 0 where both rankings are the same."""
    return min(d.value / max(float(d.draws.std()), 1e-12) for d in differences)


def dominates(differences: Sequence[Estimate]) -> bool:
    return all(d.high >= 0 for d in differences) and any(d.low > 0 for d in differences)


def compared(heads: str, point: str, single: str, judged: Judged) -> list[Measure]:
    """The picked point, the single objective and their difference on the test views, and the verdict."""
    differences = [d.estimate() for d in against(judged, point, single)]
    won, all_three = dominates(differences), dominates(differences) and min(d.value for d in differences) >= 0
    bar = ">= 1" if heads == "MMoE" else None
    rows = [
        Measure(f"{heads}: {point} - {single} alone: {reward}", d.value, unit, None, (d.low, d.high))
        for d, (reward, unit) in zip(differences, REWARDS.items(), strict=True)
    ]
    return [
        *rows,
        Measure(f"{heads}: {single} alone is dominated", float(won), "1 = yes", bar),
        Measure(f"{heads}: {single} alone is dominated, no figure lower", float(all_three), "1 = yes"),
    ]


def levels(name: str, found: Sequence[Resampled]) -> list[Measure]:
    rows = [(reward, unit, d.estimate()) for (reward, unit), d in zip(REWARDS.items(), found, strict=True)]
    return [Measure(f"{name}: {reward}", d.value, unit, None, (d.low, d.high)) for reward, unit, d in rows]


def heads_measures(name: str, heads: Heads, data: Lists) -> list[Measure]:
    """One set of heads: front and picks on validation, verdicts on test; the MMoE's are drawn."""
    later, test = heads(data.validation), heads(data.test)
    points = front(later, data.validation, np.random.default_rng(SEED))
    before, after = (
        judged(
            {label: evaluate(policy, found) for label, policy in points.items()} | {s: found[s] for s in SINGLE}, rows
        )
        for found, rows in ((later, data.validation), (test, data.test))
    )
    picks = {s: max(points, key=lambda point, s=s: least_sure(against(before, point, s))) for s in SINGLE}
    if name == "MMoE":
        draw(after, list(points), picks)
    measures = [row for single in SINGLE for row in levels(f"{name}: {single} alone", after[single])]
    return measures + [row for single, point in picks.items() for row in compared(name, point, single, after)]


def draw(found: Judged, points: Sequence[str], picks: Mapping[str, str]) -> None:
    """Both pictures of the test views: the front in levels, and the picks' differences in % of the single objective's."""
    spots = {name: tuple(found[name][axis].estimate() for axis in (0, 2, 1)) for name in (*points, *SINGLE)}
    marked = {f"{single} alone": spots[single] for single in SINGLE}
    axes = tuple(f"{reward} ({REWARDS[reward]})" for reward in ("click", "value", "order"))
    save(plots.front([spots[p] for p in points], marked, labels=axes), "trivago_front")
    shares = {
        f"{single} alone": {
            reward: percent(d.estimate(), of=level.value)
            for reward, d, level in zip(REWARDS, against(found, point, single), found[single], strict=True)
        }
        for single, point in picks.items()
    }
    save(
        plots.intervals(shares, label="front's point - single objective, % of the single objective's figure"),
        "trivago_dominance",
    )


def percent(difference: Estimate, *, of: float) -> Estimate:
    low, value, high = (100 * x / of for x in (difference.low, difference.value, difference.high))
    return Estimate(value, low, high, difference.n)


def save(figure: Figure, name: str) -> None:
    figure.savefig(PICTURES / f"{name}.png", dpi=110)


if __name__ == "__main__":
    data = lists("as_served", benchmark="trivago_frontier", shown=False)
    trees = fitted_trees(data)
    sets = {
        "MMoE": unknown_heads(data),
        "LightGBM": calibrated(lambda rows: trees.predict(rows.inputs), data.validation),
    }
    shown = judged({"position shown": -data.test.position}, data.test)
    measures = [row for name, found in shown.items() for row in levels(name, found)]
    measures += [row for name, heads in sets.items() for row in heads_measures(name, heads, data)]
    record(
        "trivago_frontier",
        measures,
        data="trivago as served: chosen on validation views, judged on the last 20 % of views",
        seed=SEED,
    )
