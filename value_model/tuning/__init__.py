"""Other weights, judged on logged slates: sweeps, predictions with intervals, tuning under constraints.

An `Evidence` (from `evidence_from_log`) answers `predict` and `tune`; `pareto_front`, `shadow_prices` and
`sensitivities` explain what was found; `OnlineTuner` tunes while serving.
"""

from value_model.formula.constraint import BoundKind, Constraint
from value_model.tuning.constraint_prices import ShadowPrice, shadow_prices
from value_model.tuning.credits import Estimator
from value_model.tuning.evidence import Evidence
from value_model.tuning.from_log import evidence_from_log
from value_model.tuning.front import Front, pareto_front
from value_model.tuning.metrics import STANDARD, Change, Metric
from value_model.tuning.online import OnlineConfig, OnlineTuner, spread_arms
from value_model.tuning.overrides import Dimension, tune_overrides
from value_model.tuning.predict import PredictConfig, Prediction, predict
from value_model.tuning.scoring import PolicyScorer
from value_model.tuning.sensitivity import Sensitivity, sensitivities
from value_model.tuning.sweep import Sweep
from value_model.tuning.tune import Goal, TuneConfig, TuningResult, Verdict, tune
from value_model.tuning.weight_ranges import SearchConfig, equal_contribution

__all__ = [
    "STANDARD",
    "BoundKind",
    "Change",
    "Constraint",
    "Dimension",
    "Estimator",
    "Evidence",
    "Front",
    "Goal",
    "Metric",
    "OnlineConfig",
    "OnlineTuner",
    "PolicyScorer",
    "PredictConfig",
    "Prediction",
    "SearchConfig",
    "Sensitivity",
    "ShadowPrice",
    "Sweep",
    "TuneConfig",
    "TuningResult",
    "Verdict",
    "equal_contribution",
    "evidence_from_log",
    "pareto_front",
    "predict",
    "sensitivities",
    "shadow_prices",
    "spread_arms",
    "tune",
    "tune_overrides",
]
