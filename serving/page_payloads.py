"""A page of several rows: one call, one slate a row, no item twice."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from serving.payloads import RecommendRequest, Refusal, SlateAnswer, Strict, examples

MAX_ROWS = 20


class PageRequest(Strict):
    """The rows of one shopper's page, each a request of its own; the first ones choose first."""

    model_config = examples(
        {
            "rows": [
                {"surface": "home", "user_id": "u1", "k": 5, "filters": {"categories": ["coffee"]}},
                {"surface": "home", "user_id": "u1", "k": 10},
            ]
        }
    )

    rows: list[RecommendRequest] = Field(min_length=1, max_length=MAX_ROWS)

    @model_validator(mode="after")
    def _one_shopper(self) -> Self:
        if len(users := sorted({row.user_id for row in self.rows})) > 1:
            raise ValueError(f"the rows are of {len(users)} shoppers, {users[0]!r} and {users[1]!r}; send a page each")
        names = [row.request_id for row in self.rows if row.request_id is not None]
        if len(set(names)) != len(names):
            raise ValueError("two rows have the same request_id; name each row, or none")
        return self


class RowAnswer(BaseModel):
    """One row: its slate, or why it has none."""

    slate: SlateAnswer | None
    problem: Refusal | None = Field(description="as a refusal of /v1/recommend; the other rows stand")


class PageAnswer(BaseModel):
    """The rows in their order; an item that an earlier row shows is in no later one."""

    rows: list[RowAnswer]
