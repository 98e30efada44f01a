"""The settings of a run: its data and policy, and a section for each part of its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from marketplace.finding import FieldError
from marketplace.settings import setting
from marketplace.splits import TEST_SHARE, VALIDATION_SHARE
from retrieval.config import RetrievalConfig, SourcesConfig
from value_model.rankers.config import CalibrationConfig, NetworkConfig, TrainingConfig, TreesConfig

DEBIASED, RECORDED = "debiased", "recorded"


@dataclass(frozen=True)
class PeriodsConfig:
    """How the time of the data is divided: training, validation, test."""

    test_share: float = setting(TEST_SHARE, "the last requests: never trained on", unit="share", least=0.01, most=0.9)
    validation_share: float = setting(
        VALIDATION_SHARE,
        "the last of the rest: early stopping, calibration, choice",
        unit="share",
        least=0.01,
        most=0.9,
    )


@dataclass(frozen=True)
class ChoiceConfig:
    """What the served ranker is chosen by, and the pool weighed by."""

    gains: str = setting(
        DEBIASED,
        "what an event counts: 1 / P(examined) of its place, or 1, which is right where old places stay",
        choices=(DEBIASED, RECORDED),
    )


@dataclass(frozen=True)
class PhasesConfig:
    """How many candidates each phase of a ranking takes."""

    candidates: int = setting(500, "asked of the retriever", unit="candidates", least=1, most=10_000)
    ranked: int = setting(
        0,
        "best of them by a linear twin of the ranker, which the ranker scores; 0 = it scores all",
        unit="candidates",
        least=0,
        most=10_000,
    )


@dataclass(frozen=True)
class VarietyConfig:
    """The alarm where home pages are too much alike."""

    shoppers: int = setting(200, "whose home pages the new bundle is asked for", unit="shoppers", least=1)
    most: float = setting(
        0.5,
        "shoppers with the same item in the first 10, above which the run raises an alarm",
        unit="share",
        least=0,
        most=1,
    )


@dataclass(frozen=True)
class RunConfig:
    """What a run is made of: its run file (`value-model run --config`), with everything that it leaves out."""

    data: str = setting("simulated", "simulated, a known data set, a mapping file (.toml) or a service's log")
    start: str = setting("", "a run that training goes on from, on the days it has not learned; empty = from scratch")
    size: str = setting("demo", "of the simulated market", choices=("small", "demo", "coupons", "large"))
    seed: int = setting(7, "of every draw", least=0, most=2**31 - 1)
    policy: str = setting("default", "a shipped value policy, or the path of one")
    surfaces: str = setting("default", "the shipped recipes of the surfaces, or the path of a surfaces.toml")
    features: tuple[str, ...] = setting((), "features beside the standard ones")
    spark: str = setting("", "master of a Spark that backfills features and counts co-visits; empty = this process")
    periods: PeriodsConfig = field(default_factory=PeriodsConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    ranker: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)
    phases: PhasesConfig = field(default_factory=PhasesConfig)
    variety: VarietyConfig = field(default_factory=VarietyConfig)

    def __post_init__(self) -> None:
        form, training = self.ranker.examination, self.training
        if training.position_dropout and form != "additive":
            reason = (
                f"hides positions (position_dropout) beside ranker.examination = {form!r}, which has no hidden place"
            )
            raise FieldError(reason, "Leave position_dropout at 0, or examination at additive.", key="training")
        if form in ("ipw", "dla") and training.objective not in ("pointwise", "softmax"):
            reason = f"compares rows by {training.objective} beside ranker.examination = {form!r}, which weighs clicks"
            raise FieldError(reason, "Write objective = pointwise or softmax.", key="training")
