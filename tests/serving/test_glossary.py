"""The glossary names every public class of the files that a request enters."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "glossary.md"


@pytest.fixture(scope="module")
def classes(bundle_folder) -> set[str]:
    from benchmarks.request_path import LINE, trace

    modules = [file.removesuffix(".py").replace("/", ".") for file in (*LINE, *trace(bundle_folder).files())]
    return {
        name
        for module in map(importlib.import_module, modules)
        for name, member in vars(module).items()
        if inspect.isclass(member) and member.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_public_class_of_the_request_path_stands_in_the_glossary(classes):
    assert len(classes) > 50
    words = set(re.findall(r"`(\w+)", PAGE.read_text("utf-8")))
    assert sorted(classes - words) == []


def test_every_class_of_the_glossary_exists():
    root = PAGE.parents[1]
    defined = {
        name
        for package in ("marketplace", "features", "retrieval", "evaluation", "value_model", "desk", "serving", "jobs")
        for path in (root / package).rglob("*.py")
        for name in re.findall(r"^class (\w+)", path.read_text("utf-8"), flags=re.MULTILINE)
    }
    words = set(re.findall(r"`([A-Z]\w+)", PAGE.read_text("utf-8")))
    assert sorted(words - defined) == []
