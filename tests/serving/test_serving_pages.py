from dataclasses import fields
from pathlib import Path

from serving import openapi, wsgi
from serving.config import ServingConfig
from serving.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()


def test_every_setting_is_documented():
    for field in fields(ServingConfig):
        assert f"| `{field.name}` |" in OPERATIONS
    for word in Path(wsgi.__file__).read_text().replace('"', " ").split():
        if word.startswith("VALUE_MODEL_"):
            assert f"`{word.strip(',).')}`" in OPERATIONS


def test_every_metric_is_documented():
    for line in Metrics().render().decode().splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name.removesuffix("_created") in OPERATIONS


def test_every_route_is_documented():
    pages = OPERATIONS + (DOCS / "serving.md").read_text()
    for one in openapi.OPERATIONS:
        assert one.path in pages
