"""Every setting of serving, with its unit and bounds; a bundle carries its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from serving.manifest import BundleError


@dataclass(frozen=True)
class ServingConfig:
    """How requests are answered."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    # asked of the retriever
    candidates: Annotated[int, Field(ge=1, le=10_000)] = 500
    # best of them by the first phase that the ranker scores; 0 = it scores all
    ranked: Annotated[int, Field(ge=0, le=10_000)] = 0
    # what groups shoppers: user_segment, user_country, or an entry of the request's context
    segment: Annotated[str, Field(max_length=128)] = "user_segment"
    # best candidates by value that the slate policy chooses from and the log keeps; at least 2 k are kept anyway
    shortlist: Annotated[int, Field(ge=1, le=10_000)] = 100
    # days that a merchant counts as new in the slate policy's quota
    newcomer_days: Annotated[float, Field(ge=0, le=36_500)] = 90.0
    # seconds that what was shown may be old before the store knows it; feedback it knows at once
    follow_seconds: Annotated[float, Field(ge=0, le=3_600)] = 0.5
    # items that may begin before the bundle is loaded again, or the next one takes over
    new_items: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    # items whose model part is kept in memory
    cached_items: Annotated[int, Field(ge=1, le=10_000_000)] = 131_072

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ServingConfig:
        """Raises BundleError for settings that this program does not know, or that lie outside their bounds."""
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the file'} is {problem['input']!r:.60}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            )
            raise BundleError(f"{where}: {problems}. Export the bundle again with this program.") from error


DEFAULTS = ServingConfig()
