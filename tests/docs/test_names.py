"""Pages and modules name what exists: `package.module.name`, `Class.member` and `folder/file` in backticks, by ast.

A setting of a run, as `retrieval.index`, exists too.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from jobs.run_file import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}
FOLDERS = PACKAGES | {"docs", "notebooks", "tests"}
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
NAME = re.compile(r"`(\w+(?:\.\w+)+)(?:\([^`]*\))?`")
PATH = re.compile(r"`(\w+(?:/[\w.-]+)+/?)`")
IMPORT = re.compile(r"^ *from (\w[\w.]*) import ([\w, ]+)$", re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    assert not missing(FENCED.sub("", page.read_text("utf-8")))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_what_a_module_names_in_words_exists(package: str) -> None:
    texts = {file: file.read_text("utf-8") for file in (ROOT / package).rglob("*.py")}
    assert not {str(file): names for file, text in texts.items() if (names := missing(text))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_imports_exists(page: Path) -> None:
    imports = IMPORT.findall(page.read_text("utf-8"))
    asked = [f"{module}.{name.strip()}" for module, names in imports for name in names.split(",")]
    assert not [name for name in asked if name.split(".")[0] in PACKAGES and not exists(name)]


def test_a_name_that_is_gone_is_missed() -> None:
    assert exists("value_model.slate_policies.slate_section.SlateSection.policy")
    assert exists("value_model.formula.parse_policy")
    assert not exists("value_model.slate_policies.from_policy")
    assert not exists("value_model.slate_policies.slate_section.SlateSection.traits")
    assert exists("SlateSection.policy")
    assert not exists("SlateSection.traits")
    assert not exists("SlateTraits.merchant")
    assert {"marketplace", "value_model", "jobs"} <= PACKAGES


def missing(text: str) -> list[str]:
    """The names and files of a text that do not exist."""
    names = [name for name in NAME.findall(text) if name.split(".")[0] in PACKAGES or name[0].isupper()]
    paths = [path for path in PATH.findall(text) if path.split("/")[0] in FOLDERS]
    gone = [name for name in names if name not in SETTINGS and not exists(name)]
    return gone + [path for path in paths if not (ROOT / path).exists()]


@cache
def exists(name: str) -> bool:
    """Whether a dotted name is a module, what a module defines or imports, or a member of a class."""
    parts = name.split(".")
    if name[0].isupper():
        return _defines(classes(), parts)
    for depth in range(len(parts), 0, -1):
        stem = ROOT.joinpath(*parts[:depth])
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.exists():
                return _defines(ast.parse(file.read_text("utf-8")).body, parts[depth:])
    return False


@cache
def classes() -> list[ast.stmt]:
    """Every class of the packages; none is defined twice."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return [
        part for file in files for part in ast.parse(file.read_text("utf-8")).body if isinstance(part, ast.ClassDef)
    ]


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    for statement in body:
        match statement:
            case ast.ClassDef(name=name, body=members) if name == names[0]:
                return _defines(members, names[1:])
            case _ if names[0] in _bound(statement):
                return len(names) == 1
    return False


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name for alias in aliases}
        case ast.Assign(targets=targets):
            return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()
