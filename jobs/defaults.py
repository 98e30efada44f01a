"""What suits each data set: its features, and the value policy it is served with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from features.definitions import standard_spec
from features.mapped import MappedFeatures, context_entries, mapped_features
from features.spec import FeatureSpec
from jobs.config import RunConfig
from marketplace.dataset import Dataset
from marketplace.finding import FieldError
from value_model.formula import ValuePolicy, default_policy, in_currency, load_policy, shipped_policy
from value_model.formula.shipped import PER_RIYAL


def spec_of(dataset: Dataset, config: RunConfig, *, mapped: MappedFeatures | None = None) -> FeatureSpec:
    """The standard features that the data has, those that the run names, and the mapped ones (None = found).

    Raises ValueError for a feature that is none of those that can be named, and for a mapped one under a standard name.
    """
    standard = standard_spec(
        context=context_entries(dataset),
        impressions=dataset.has_impressions,
        text=dataset.has_text,
        product_pages=dataset.has_product_pages,
        sequence={config.ranker.history.kind, config.retrieval.history.kind} != {"mean"},
        against_list=dataset.whole_lists,
        extra=config.features,
    )
    return (mapped or mapped_features(dataset)).added_to(standard)


def policy_of(dataset: Dataset, config: RunConfig, *, heads: Collection[str] | None = None) -> ValuePolicy:
    """The policy that the run names, in the data's currency; `default` without the terms of absent heads.

    `heads`: those that the run learned, None = all that such data can teach. A policy in another currency is converted
    at the data set's rate, `default` else at a rough one; FieldError where there is none.
    """
    rates = dataset.currency_rates
    if config.policy == "default":
        clicks, orders = dataset.has_impressions, True
        if heads is not None:
            clicks, orders = "ctr" in heads, {"order_value", "cvr" if "ctr" in heads else "ctcvr"} <= set(heads)
        policy = default_policy(clicks=clicks, orders=orders)
        rates = {policy.currency: PER_RIYAL[dataset.currency], **rates} if dataset.currency in PER_RIYAL else rates
    else:
        path = Path(config.policy)
        policy = load_policy(path) if path.suffix == ".toml" else shipped_policy(config.policy)
    if policy.currency == dataset.currency:
        return policy
    if policy.currency not in rates:
        raise _without_rate(config.policy, policy.currency, dataset.currency)
    return in_currency(policy, dataset.currency, rate=rates[policy.currency])


def _without_rate(name: str, currency: str, data: str) -> FieldError:
    """It names the line that is missing."""
    fix = (
        f"Say under [currencies] of the mapping how many {data} one {currency} is worth (`{currency} = 13.2` where "
        f"1 {currency} = 13.2 {data}), or name a policy in {data} by --policy."
    )
    return FieldError(f"the policy {name!r} is in {currency}, the amounts in {data}, and no rate is known", fix)
