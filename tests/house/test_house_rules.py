"""The house's own rules, read off its syntax: sizes, names, one name for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "marketplace",
    "features",
    "retrieval",
    "value_model",
    "evaluation",
    "desk",
    "serving",
    "jobs",
    "benchmarks",
)
MODULES = {
    path.relative_to(ROOT): ast.parse(path.read_text("utf-8"))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
FUNCTIONS = [
    (f"{place}:{node.lineno} {node.name}", node)
    for place, module in MODULES.items()
    for node in ast.walk(module)
    if isinstance(node, ast.FunctionDef)
]
SPEECH = {"asked", "asker", "given", "said", "told", "found", "own", "there", "wanted"}
SAYS_NOTHING = {"utils", "common", "core", "helpers", "misc", "base"}
LINES, BODY, DEPTH = 400, 60, 2


def test_a_file_is_about_one_subject_in_a_folder_at_most_two_deep():
    assert [place for place in MODULES if (ROOT / place).read_text("utf-8").count("\n") > LINES] == []
    assert [place for place in MODULES if len(place.parts) - 1 > DEPTH] == []
    assert [place for place in MODULES if SAYS_NOTHING & set(place.with_suffix("").parts)] == []


def test_who_asks_arrow_for_pandas_imports_it():
    """The serving environment has none: `to_pandas` and `to_pandas_dtype` fail there."""
    asks = {place for place, module in MODULES.items() if any(_asks_for_pandas(node) for node in ast.walk(module))}
    assert sorted(place for place in asks if "import pandas" not in (ROOT / place).read_text("utf-8")) == []


def _asks_for_pandas(node):
    return isinstance(node, ast.Attribute) and node.attr.startswith("to_pandas")


def test_functions_are_short():
    assert [where for where, function in FUNCTIONS if _body(function) > BODY] == []


def test_names_are_nouns_of_the_field():
    parameters = [where for where, function in FUNCTIONS if SPEECH & _parameters(function)]
    names = [where for where, function in FUNCTIONS if function.name in SPEECH]
    fields = [
        f"{place}:{node.lineno} {node.target.id}"
        for place, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in SPEECH
    ]
    assert (parameters, names, fields) == ([], [], [])


def test_a_class_name_means_one_thing():
    places = defaultdict(list)
    for place, module in MODULES.items():
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(place))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def _body(function: ast.FunctionDef) -> int:
    """Lines of code, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _parameters(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
