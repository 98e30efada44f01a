"""The service as `value-model serve` starts it: policies that come over HTTP are tried on the folder's requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from desk.material import Material
from serving.wsgi import create as create_service
from value_model.formula import ValuePolicy


def create() -> Any:
    """The WSGI application of one worker, for gunicorn."""
    return create_service(material_of=_material_of)


def _material_of(folder: Path, policy: ValuePolicy) -> Material | None:
    """What reads the requests is imported when the first policy comes."""
    from jobs.publish import tried_on

    return tried_on(folder, policy)
