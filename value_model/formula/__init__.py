"""The value formula: a checked file of named expressions over predictions, item and merchant quantities.

TOML -> tree (whitelist, no eval) -> NumPy here, TensorFlow in `value_model.formula_graph`; weights are inputs in both.
"""

from value_model.formula.constraint import BoundKind, Constraint, parse_constraint
from value_model.formula.currency import in_currency
from value_model.formula.evaluate import evaluate, evaluate_all, evaluate_rows
from value_model.formula.policy_error import PolicyError
from value_model.formula.shipped import default_policy, shipped_policies, shipped_policy
from value_model.formula.toml_reader import load_policy, parse_policy
from value_model.formula.toml_writer import to_toml
from value_model.formula.value_policy import Expression, Override, ValuePolicy, Weight

__all__ = [
    "BoundKind",
    "Constraint",
    "Expression",
    "Override",
    "PolicyError",
    "ValuePolicy",
    "Weight",
    "default_policy",
    "evaluate",
    "evaluate_all",
    "evaluate_rows",
    "in_currency",
    "load_policy",
    "parse_constraint",
    "parse_policy",
    "shipped_policies",
    "shipped_policy",
    "to_toml",
]
