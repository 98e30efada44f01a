"""Exchange: the attempts of one call, without the wire: what each sends, and what follows from its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

import httpx
import numpy as np
from pydantic import ValidationError

from serving.client.calls import Answer, Call
from serving.client.failures import NoAnswer, ServiceProblem
from serving.client.retries import REFUSED, RetryPolicy
from serving.deadline import HEADER, LONGEST
from serving.payloads import Refusal


def no_headers() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class ClientSettings:
    """`timeout`: seconds that a call may take with all its attempts; `headers` are added to each attempt, such as the
    caller's `traceparent`. `clock` in seconds."""

    key: str | None = None
    timeout: float = 5.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Callable[[], Mapping[str, str]] = no_headers
    clock: Callable[[], float] = time.monotonic
    rng: np.random.Generator = field(default_factory=np.random.default_rng)


class Attempts(Generic[Answer]):
    """The attempts of one call."""

    def __init__(self, call: Call[Answer], settings: ClientSettings) -> None:
        self._call, self._settings = call, settings
        self._until, self._made = settings.clock() + settings.timeout, 0

    def request(self) -> dict[str, Any]:
        """The next attempt, as httpx takes it; the service learns how long it is waited for."""
        self._made += 1
        left = max(self._until - self._settings.clock(), 0.001)
        headers = {HEADER: str(min(max(int(left * 1000), 1), LONGEST)), **self._settings.headers()}
        headers |= {} if self._settings.key is None else {"Authorization": f"Bearer {self._settings.key}"}
        call, content = self._call, None
        if call.body is not None:
            content = call.body.model_dump_json(exclude_unset=True).encode()
            headers["Content-Type"] = "application/json"
        sent = {"params": call.query, "content": content, "headers": headers, "timeout": left}
        return {"method": call.method, "url": call.path, **sent}

    def answer(self, response: httpx.Response) -> Answer | float:
        """The answer, or seconds after which to try again; raises ServiceProblem, NoAnswer for what is none."""
        if response.status_code in self._call.statuses:
            try:
                return self._call.answer.model_validate_json(response.content)
            except ValidationError as error:
                raise NoAnswer(f"{self._call.path}: the answer is not of this service: {error}") from error
        if response.status_code in REFUSED and (wait := self._wait(retry_after(response))) is not None:
            return wait
        raise problem_of(response)

    def after(self, error: httpx.TransportError) -> float:
        """Seconds after which to try again where no answer came; raises NoAnswer."""
        reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if (self._call.repeatable or not reached) and (wait := self._wait(0.0)) is not None:
            return wait
        reason = f"{type(error).__name__} {error}".strip()
        raise NoAnswer(
            f"{self._call.method} {self._call.path}: no answer after {self._made} attempts: {reason}"
        ) from error

    def _wait(self, least: float) -> float | None:
        """None = no more attempts, or no time for one."""
        wait = self._settings.retry.wait(self._made, rng=self._settings.rng, retry_after=least)
        late = self._settings.clock() + wait >= self._until
        return None if late or self._made >= self._settings.retry.attempts else wait


def retry_after(response: httpx.Response) -> float:
    """Seconds; 0 where the header says nothing."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def problem_of(response: httpx.Response) -> ServiceProblem:
    """The refusal as an exception; one that is no problem details was made by something in between."""
    request_id = response.headers.get("X-Request-Id", "")
    try:
        told = Refusal.model_validate_json(response.content)
    except ValidationError:
        status, title = response.status_code, response.reason_phrase
        return ServiceProblem(
            status=status, title=title, detail=response.text[:500], problems=[], request_id=request_id
        )
    return ServiceProblem(
        status=told.status, title=told.title, detail=told.detail, problems=told.problems, request_id=request_id
    )
