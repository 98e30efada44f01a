"""Other weights, judged on logged slates: sweeps, predictions with intervals, tuning under constraints."""

from value_model.tuning.constraint import Constraint, Of
from value_model.tuning.credits import Estimator
from value_model.tuning.evidence import Evidence
from value_model.tuning.metrics import STANDARD, Change, Metric
from value_model.tuning.predict import PredictConfig, Prediction, predict
from value_model.tuning.scoring import Scorer
from value_model.tuning.sweep import Sweep

__all__ = [
    "STANDARD",
    "Change",
    "Constraint",
    "Estimator",
    "Evidence",
    "Metric",
    "Of",
    "PredictConfig",
    "Prediction",
    "Scorer",
    "Sweep",
    "predict",
]
