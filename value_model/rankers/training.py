"""Fitting the network: whole-request batches, one compiled step, early stopping on a later period, resume.

Progress is one line an epoch. With the same data, settings and generator the result is the same; a run that was
stopped and resumed from its checkpoint gives what the uninterrupted run gives, because each epoch draws its order and
its dropout from (seed, epoch) alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from features.hidden_ids import with_hidden_ids
from features.keras2 import tensorflow as tf
from features.spec import Group, Kind, ModelInputs
from marketplace.heads import HeadKind, head_of, per_impression
from value_model.rankers import losses as loss
from value_model.rankers.batches import batches
from value_model.rankers.checkpoint import Checkpoint, restore, store
from value_model.rankers.config import TrainingConfig
from value_model.rankers.conversion_losses import ImputedRate, conversion_losses
from value_model.rankers.examined_clicks import FAINTEST, at_places, examination_loss
from value_model.rankers.expert_health import ExpertHealth, expert_health
from value_model.rankers.lazy_adam import LazyAdam
from value_model.rankers.logits import Logits
from value_model.rankers.loss_balance import BALANCES, Gradient, GradientBalance, inner_products, weighted_sum
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.ranking_losses import ranking_loss, ranking_losses
from value_model.rankers.row_files import COME, LABEL, SO_FAR, RowFiles, by_label, data_of
from value_model.rankers.row_means import RowMean, row_mean
from value_model.rankers.workers import Workers

Row = Mapping[str, tf.Tensor]
AfterEpoch = Callable[[int, Mapping[str, Mapping[str, float]]], None]  # epoch, period -> curve -> value
SAMPLE = 500_000  # rows of files that number transforms are learned from


@dataclass(frozen=True)
class LossHistory:
    """Mean losses by epoch: `train[e]` while fitting, `held_out[e]` after; `best` is the epoch that was kept.

    `experts`: the health of what was kept, on the held-out rows.
    """

    train: list[dict[str, float]] = field(default_factory=list)
    held_out: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    experts: ExpertHealth | None = None


def fit(
    ranker: NetworkRanker,
    data: RankingData | RowFiles,
    held_out: RankingData,
    *,
    config: TrainingConfig,
    rng: np.random.Generator,
    checkpoint: Path | None = None,
    after_epoch: AfterEpoch | None = None,
    progress: bool = True,
    anew: bool = True,
    workers: Workers | None = None,
) -> LossHistory:
    """Train `ranker` in place and leave it with the weights of its best epoch on `held_out` (a later period).

    With `checkpoint` (a file), every epoch is stored there, and a run finds and continues it; the number transforms
    are learned from `data`, of files from SAMPLE rows. `after_epoch` gets each epoch's curves: losses and learning
    rate of "train", losses and their watched sum of "validation". Early stopping watches the pointwise losses,
    positions shown and hidden as in training; every epoch that is not the best so far slows the learning rate down. A
    head whose own loss got no better
    for `head_patience` epochs is learned no further, so that it cannot over-fit while others still learn.

    Not `anew`: the ranker goes on from its weights. Its number transforms stay, and it is itself epoch 0, so that it
    keeps its weights where no epoch on `data` is better.

    `workers`: this process is one of several that fit the same ranker to the same files; each has its part of every
    batch, and the first one writes the checkpoint. Raises ValueError for what only one process can take.
    """
    if workers is not None and (refusal := refused_by_workers(data, config)):
        raise ValueError(f"several workers fit no network {refusal}: fit it by one.")
    loose = isinstance(data, RowFiles) or data.examination is None or held_out.examination is None
    if ranker.config.examination == "ipw" and loose:
        raise ValueError("examination is ipw, but rows have no P(examined): estimate it first (jobs.examined_rows).")
    if anew:
        ranker.network.adapt(data_of(data.sample(SAMPLE, rng=rng).table()) if isinstance(data, RowFiles) else data)
    fitting = Fitting(ranker, config=config, seed=int(rng.integers(2**31)), workers=workers)
    state = restore(checkpoint, fitting) if checkpoint and checkpoint.exists() else Checkpoint.start(fitting)
    if not anew and state.epoch == 0:
        state = state.after(0, fitting.evaluate(data), fitting.evaluate(held_out), fitting)
    bar = tqdm(range(state.epoch, config.epochs + (not anew)), desc="train", disable=not progress, unit="epoch")
    for epoch in bar:
        if state.best >= 0 and epoch - state.best > config.patience:
            break
        rate = config.learning_rate * config.slow_down**state.worse
        ended = ended_heads(state.held_out, patience=config.head_patience)
        train, later = fitting.epoch(data, epoch, rate=rate, ended=ended), fitting.evaluate(held_out)
        bar.set_postfix({name: f"{value:.4f}" for name, value in later.items()})
        state = state.after(epoch, train, later, fitting)
        if checkpoint and (workers is None or workers.number == 0):
            store(checkpoint, state, fitting)
        if after_epoch:
            watched = {"watched": fitting.watched(later)}
            after_epoch(epoch, {"train": train | {"learning rate": rate}, "validation": later | watched})
    ranker.set_weights(state.best_weights)
    return LossHistory(state.train, state.held_out, state.best, expert_health(ranker, held_out.inputs))


def refused_by_workers(data: RankingData | RowFiles, config: TrainingConfig) -> str | None:
    """What of the rows or the settings needs all rows of a step in one process; None = nothing."""
    if not isinstance(data, RowFiles):
        return "of rows that stand in memory"
    if config.objective != "pointwise":
        return f"with training.objective = {config.objective!r}"
    if config.loss_weights in BALANCES:
        return f"with training.loss_weights = {config.loss_weights!r}"
    return None


def ended_heads(held_out: Sequence[Mapping[str, float]], *, patience: int) -> frozenset[str]:
    """The heads whose losses by epoch were, at any time, not the lowest so far for `patience` epochs in a row."""
    ended = set()
    for head in held_out[0] if held_out else ():
        losses = np.array([epoch[head] for epoch in held_out])
        lowest = np.flatnonzero(losses <= np.minimum.accumulate(losses))
        if np.diff(np.append(lowest, len(losses))).max() > patience:
            ended.add(head)
    return frozenset(ended)


class Fitting:
    """The compiled step and what it updates."""

    def __init__(
        self, ranker: NetworkRanker, *, config: TrainingConfig, seed: int, workers: Workers | None = None
    ) -> None:
        self.ranker, self.config, self.seed, self.workers = ranker, config, seed, workers
        trained = loss.trained_heads(ranker.heads)
        self._weights = {head.name: config.value_weight for head in trained if head.kind is HeadKind.MONEY}
        clicked = config.clicked_weight if config.conversion == "esmm" else config.conversion_weight
        self._weights |= {head.name: clicked for head in trained if head.through}
        hidden = ranker.network.body.columns(ranker.config, len(ranker.heads)).hidden
        imputes = config.conversion == "escm2_dr"
        self.imputed = {head.name: ImputedRate(hidden) for head in trained if head.through and imputes}
        listed = per_impression([head.name for head in trained])
        self._weights |= {f"{head.name} {config.objective}": config.objective_weight for head in listed}
        self._counted = [head.name for head in trained]
        # "uncertainty" learns the weights of these losses; the others keep their fixed ones.
        self._uncertain = [head.name for head in trained if not head.through]
        self._ranking = None if config.objective == "pointwise" else ranking_loss(config.objective)
        self.spread = tf.Variable(np.zeros(len(self._uncertain), np.float32), name="log_variance")
        self.balance = BALANCES[config.loss_weights](len(trained)) if config.loss_weights in BALANCES else None
        rates = [variable for rate in self.imputed.values() for variable in rate.trainable_variables]
        self.variables = [*ranker.network.trainable_variables, *rates, self.spread]
        self.optimizer = LazyAdam(self.variables, decay=config.decay)
        alone = tf.function(self._step, autograph=False, reduce_retracing=True)
        self.step = alone if workers is None else workers.together(self._step)
        self.measure = tf.function(self._losses, autograph=False, reduce_retracing=True)

    def epoch(
        self, data: RankingData | RowFiles, epoch: int, *, rate: float, ended: Collection[str] = ()
    ) -> dict[str, float]:
        """One pass in which the heads in `ended` count for nothing; mean losses."""
        counted = tf.constant([float(name not in ended) for name in self._counted])
        rng = np.random.default_rng([self.seed, epoch])
        sums: list[dict[str, tf.Tensor]] = []
        draws = rng if self.workers is None else np.random.default_rng([self.seed, epoch, self.workers.number])
        for number, batch in self._numbered(data, rng):
            hidden = draws.random(len(batch.inputs.user_codes)) < self.config.position_dropout
            seed = tf.constant([self.seed ^ epoch, number], tf.int32)
            row = tensors(batch, hidden) | self._hidden_ids(batch.inputs, draws)
            sums.append(self.step(row, seed, tf.constant(rate), counted))
        return means(sums, np.ones(len(sums)))

    def _numbered(self, data: RankingData | RowFiles, rng: np.random.Generator) -> Iterator[tuple[int, RankingData]]:
        """The batches of an epoch, numbered through those of all workers."""
        size = self.config.batch_requests
        if self.workers is None or not isinstance(data, RowFiles):
            return enumerate(_batches(data, size=size, rng=rng))
        number, count = self.workers.number, self.workers.count
        few = data.batches_of_worker(number, workers=count, size=size, rng=rng)
        return zip(itertools.count(number, count), few, strict=False)

    def _hidden_ids(self, inputs: ModelInputs, rng: np.random.Generator) -> dict[str, tf.Tensor]:
        """The codes of shoppers and items, some of whose ids are hidden; nothing where none is to be."""
        share, spec = self.config.id_dropout, self.ranker.spec
        groups = {"user_codes": Group.USER, "item_codes": Group.ITEM} if share else {}
        return {
            name: tf.constant(
                with_hidden_ids(getattr(inputs, name), spec.select(group, Kind.CATEGORY), share=share, rng=rng)
            )
            for name, group in groups.items()
        }

    def evaluate(self, data: RankingData | RowFiles) -> dict[str, float]:
        """Mean losses without dropout; with positions as shown, and hidden too for the share that training hides."""
        share = self.config.position_dropout
        shown, hidden = (self._pass(data, hide=hide) if weight else {} for hide, weight in ((0, 1 - share), (1, share)))
        return {name: (1 - share) * shown.get(name, 0.0) + share * hidden.get(name, 0.0) for name in shown or hidden}

    def watched(self, losses: Mapping[str, float]) -> float:
        """What early stopping watches: the pointwise losses, each by its fixed weight."""
        return sum(self._weights.get(name, 1.0) * value for name, value in losses.items())

    def _pass(self, data: RankingData | RowFiles, *, hide: int) -> dict[str, float]:
        parts, rows = [], []
        for batch in _batches(data, size=self.config.batch_requests, rng=None):
            hidden = np.full(len(batch.inputs.user_codes), bool(hide))
            parts.append(self.measure(tensors(batch, hidden), None))
            rows.append(len(batch.position))
        return means(parts, np.array(rows))

    def _losses(self, row: Row, seed: tf.Tensor | None) -> dict[str, tf.Tensor]:
        network = self.ranker.network
        user = network.user_part(row["user_codes"], row["user_lists"], row["user_numbers"])
        item = network.item_part(row["item_codes"], row["item_lists"], row["item_numbers"])
        cross = row["cross_codes"], row["cross_numbers"]
        first = network.first(user, item, *cross, row["request"])
        logits = network.logits(first, position=row["position"], presentation=row.get("presentation"), seed=seed)
        labels, recorded, come = (by_label(row, prefix) for prefix in (LABEL, SO_FAR, COME))
        mean = row_mean if self.workers is None or seed is None else self.workers.row_mean
        examination = self._examination(row, first["mix"])
        shown = logits if examination is None else at_places(logits, examination)
        if examination is None or seed is None:
            losses = loss.pointwise(shown, labels | recorded, weight=row["weight"], come=come, mean=mean)
        else:
            losses = loss.pointwise(
                logits,
                labels | recorded,
                weight=row["weight"],
                come=come,
                examination=examination,
                least_examination=self.config.least_examination,
                mean=mean,
            )
            losses |= self._dual_losses(logits, labels, row, first["mix"], mean=mean)
        if self.config.conversion != "esmm":
            hidden, weight = first["hidden"], row["weight"]
            losses |= conversion_losses(shown, labels, weight=weight, hidden=hidden, imputed=self.imputed, mean=mean)
        if self._ranking and seed is not None:
            losses |= ranking_losses(
                self.config.objective,
                self._ranking,
                logits,
                labels,
                request=row["request"],
                seed=seed,
                examination=examination,
                least_examination=self.config.least_examination,
            )
        return losses

    def _examination(self, row: Row, mix: tf.Tensor) -> tf.Tensor | None:
        """P(examined) by which clicks are weighed, float32 [N] and given; None where they are not."""
        if self.ranker.config.examination == "ipw":
            return row["examination"]
        if self.ranker.config.examination != "dla":
            return None
        learned = self.ranker.network.position.examination(row["position"], mix)
        return tf.stop_gradient(tf.maximum(learned, FAINTEST))

    def _dual_losses(
        self, logits: Logits, labels: Mapping[str, tf.Tensor], row: Row, mix: tf.Tensor, *, mean: RowMean
    ) -> dict[str, tf.Tensor]:
        """What teaches dla's P(examined), beside the head that it is learned of."""
        if self.ranker.config.examination != "dla":
            return {}
        tower, position = self.ranker.network.position, row["position"]
        head = list(logits.events)[tower.lead]
        looks = tower(position, mix)[:, tower.lead]
        recorded = labels[head_of(head).label]
        one = examination_loss(looks, logits.events[head], recorded, position=position, weight=row["weight"], mean=mean)
        return {f"{head} examination": one}

    def _step(self, row: Row, seed: tf.Tensor, rate: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape(persistent=self.balance is not None) as tape:
            losses = self._losses(row, seed)
            terms = self._head_losses(losses, dict(zip(self._counted, tf.unstack(counted), strict=True)))
            objective = tf.add_n(list(terms.values()))
        if self.balance is None:
            gradients = tape.gradient(objective, self.variables)
        else:
            gradients = self._balanced(self.balance, tape, terms, counted, seed)
        if self.workers is not None:
            gradients, losses = self.workers.mean(gradients, losses)
        self.optimizer.apply(gradients, self.variables, rate)
        return losses

    def _head_losses(self, losses: Mapping[str, tf.Tensor], counted: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        learned = self._uncertain if self.config.loss_weights == "uncertainty" else ()
        spread = dict(zip(learned, tf.unstack(self.spread), strict=False))
        return loss.head_losses(losses, self._weights, spread, counted)

    def _balanced(
        self,
        balance: GradientBalance,
        tape: tf.GradientTape,
        terms: Mapping[str, tf.Tensor],
        counted: tf.Tensor,
        seed: tf.Tensor,
    ) -> list[Gradient]:
        """A gradient a variable: as `balance` weighs the heads where they share it, else the sum of theirs."""
        counted *= tf.constant([float(self._weights.get(name, 1.0) > 0) for name in self._counted])
        by_head = [tape.gradient(terms[name], self.variables) for name in self._counted]
        network = self.ranker.network
        single = {variable.ref() for variable in network.task_variables}
        every = {variable.ref() for variable in network.trainable_variables}
        shared = [variable.ref() in every - single for variable in self.variables]
        values = tf.stack([terms[name] for name in self._counted])
        weights = tf.unstack(balance(inner_products(by_head, shared), values, counted, seed))
        one = tf.unstack(counted)
        columns = zip(zip(*by_head, strict=True), shared, strict=True)
        return [weighted_sum(column, weights if use else one) for column, use in columns]


def _batches(data: RankingData | RowFiles, *, size: int, rng: np.random.Generator | None) -> Iterator[RankingData]:
    """Whole requests, of arrays or of files."""
    return data.batches(size=size, rng=rng) if isinstance(data, RowFiles) else batches(data, size=size, rng=rng)


def tensors(batch: RankingData, hidden: np.ndarray) -> dict[str, tf.Tensor]:
    """The step's arguments; the positions of `hidden` requests become 0."""
    row = dict(vars(batch.inputs))
    row["position"] = np.where(hidden[batch.inputs.request], 0, batch.position).astype(np.int32)
    further = {"examination": batch.examination, "presentation": batch.presentation}
    row |= {name: column for name, column in further.items() if column is not None}
    for name, still_open in batch.open.items():
        unknown = np.isnan(batch.labels[name])
        row[SO_FAR + name] = np.where(unknown, still_open.recorded, batch.labels[name])
        row[COME + name] = np.where(unknown, still_open.come, np.float32(1.0))
    row |= {"weight": batch.weight} | {LABEL + name: values for name, values in batch.labels.items()}
    return {name: tf.constant(value) for name, value in row.items()}


def means(parts: list[dict[str, tf.Tensor]], weight: np.ndarray) -> dict[str, float]:
    return {name: float(np.average([float(part[name]) for part in parts], weights=weight)) for name in parts[0]}
