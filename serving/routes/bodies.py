"""Bodies: a request's, read whole and parsed as a model, and an answer's in JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
from flask import Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from serving.malformed import refused_by
from serving.payloads import Strict
from serving.request import BadRequest

FUTURE = timedelta(minutes=5)  # how far a caller's clock may run ahead of ours
Payload = TypeVar("Payload", bound=Strict)


def parse(model: type[Payload]) -> Payload:
    """The body as `model`; pydantic's own JSON parser checks it in the same pass."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
    content = body()
    with refused_by(model):
        return model.model_validate_json(content)


def body() -> bytes:
    """All of the body; raises BadRequest where there is none, RequestEntityTooLarge."""
    content = _body(request.content_length, most=current_app.config["MAX_CONTENT_LENGTH"])
    if not content:
        raise BadRequest("", "the body is empty; send a JSON object")
    return content


def json_answer(content: Any, *, status: int = 200) -> Response:
    answer = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z)
    return Response(answer, status=status, content_type="application/json")


def refuse_future(field: str, time: datetime | None, now: datetime) -> None:
    if time is not None and time > now + FUTURE:
        raise BadRequest(field, f"{time.isoformat()} lies in the future; it is {now.isoformat()} here")


def _body(length: int | None, *, most: int) -> bytes:
    """All of the body, of its `length` (None = chunked); raises BadRequest for one that is malformed or cut short."""
    if length is None and not request.environ.get("wsgi.input_terminated"):
        return b""
    content = b""
    if length is None or length <= most:
        try:
            content = request.environ["wsgi.input"].read(most + 1 if length is None else length)
        except Exception as error:  # the server's own, of whichever kind
            raise BadRequest("", f"the body cannot be read: {type(error).__name__} {error}".strip()) from error
    if len(content) > most or (length or 0) > most:
        raise RequestEntityTooLarge(f"the body is larger than {most} bytes; send less at a time")
    if length is not None and len(content) < length:
        raise BadRequest("", f"the body ends after {len(content)} of {length} bytes")
    return content
