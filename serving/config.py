"""Every setting of serving, with its unit; a bundle carries its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from serving.manifest import BundleError


@dataclass(frozen=True)
class ServingConfig:
    """How requests are answered."""

    candidates: int = 500  # asked of the retriever
    segment: str = "user_segment"  # what groups shoppers: user_segment, user_country, or an entry of the context
    shortlist: int = 100  # best candidates by value that the slate policy chooses from and the log keeps; >= 2 k
    newcomer_days: float = 90.0  # how long a merchant counts as new in the slate policy's quota
    follow_seconds: float = 0.5  # how old what was recorded may be before the store knows it
    cached_items: int = 65_536  # items whose model part is kept in memory

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ServingConfig:
        """Raises BundleError for settings that this program does not know."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise BundleError(f"{where}: {error}. Export the bundle again with this program.") from error


DEFAULTS = ServingConfig()
