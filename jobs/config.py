"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.splits import TEST_SHARE, VALIDATION_SHARE


@dataclass(frozen=True)
class RunConfig:
    """`data`: simulated, the name of a reader (marketplace.datasets.readers), the path of a mapping file (TOML), or of
    a service's log (SQLite, beside the bundle that served it).

    `size` of the simulated market: small, demo or large. `index`: scann, faiss or exact. Shares are of time.
    """

    data: str = "simulated"
    size: str = "demo"
    seed: int = 7
    index: str = "scann"
    test_share: float = TEST_SHARE
    validation_share: float = VALIDATION_SHARE
    retrieval_epochs: int = 8
    retrieval_pairs: int = 150_000  # the newest pairs of request and wish that the towers learn from
    variety_shoppers: int = 200  # whose home pages the new bundle is asked for
    variety_most: float = 0.5  # share of them with the same item in the first 10, above which the run raises an alarm
    ranker_epochs: int = 20
    trees: str = "lightgbm"  # the library of the boosted trees; or xgboost
    surfaces: str = "default"  # the shipped recipes, or the path of a surfaces.toml
    policy: str = "default"  # a shipped value policy, or the path of one
    features: str = ""  # features beside the standard ones (`standard_spec(extra=...)`), separated by commas
