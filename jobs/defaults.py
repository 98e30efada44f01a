"""What suits each data set: its features, and the value policy it is served with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from features.definitions import standard_spec
from features.mapped import context_entries, mapped_features
from features.spec import FeatureSpec
from jobs.config import RunConfig
from marketplace.dataset import Dataset
from value_model.formula import ValuePolicy, default_policy, load_policy, shipped_policy


def spec_of(dataset: Dataset, config: RunConfig) -> FeatureSpec:
    """The standard features that the data has, those that the run names, and the mapped ones.

    Raises ValueError for a feature that is none of those that can be named, and for a mapped one under a standard name.
    """
    standard = standard_spec(
        context=context_entries(dataset),
        impressions=dataset.has_impressions,
        text=dataset.has_text,
        against_list=dataset.whole_lists,
        extra=tuple(filter(None, config.features.split(","))),
    )
    return mapped_features(dataset).added_to(standard)


def policy_of(dataset: Dataset, config: RunConfig, *, heads: Collection[str] | None = None) -> ValuePolicy:
    """The policy that the run names; `default` is in the data's currency, and without the terms of absent heads.

    `heads`: those that the run learned, None = all that such data can teach. Raises ValueError for a policy in another
    currency than the data's.
    """
    if config.policy == "default":
        clicks, orders = dataset.has_impressions, True
        if heads is not None:
            clicks, orders = "ctr" in heads, {"order_value", "cvr" if "ctr" in heads else "ctcvr"} <= set(heads)
        return default_policy(currency=dataset.currency, clicks=clicks, orders=orders)
    path = Path(config.policy)
    policy = load_policy(path) if path.suffix == ".toml" else shipped_policy(config.policy)
    if policy.currency != dataset.currency:
        raise ValueError(f"policy {config.policy} is in {policy.currency}, the data in {dataset.currency}: convert it.")
    return policy
