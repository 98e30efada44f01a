"""docs/value_policy.md speaks of everything that there is, and its example file is valid."""

import re
from pathlib import Path

from shipped_heads import HEAD_POLICIES

from value_model.formula import parse_policy, shipped_policies
from value_model.formula.quantities import STANDARD
from value_model.formula.tree import CALLABLE
from value_model.policy_checks import check_policy
from value_model.slate_policies.rules import RULES, MerchantCap

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "value_policy.md").read_text()
FILES = ("marketplace/toml_*.py", "value_model/formula/*.py", "value_model/policy_checks/*.py")
SOURCES = [path for files in FILES for path in ROOT.glob(files)]
RULE = re.compile(r'(?:Finding|refuse|self\.finding)\(\s*"(\w+)"|rule: str = "(\w+)"')


def test_every_function_quantity_and_shipped_policy_is_on_the_page() -> None:
    for name in CALLABLE:
        assert f"`{name}(" in PAGE, name
    quantities = [name for name, quantity in STANDARD.items() if not quantity.head]
    for name in (*quantities, "marketplace/heads.py", *set(shipped_policies()).difference(HEAD_POLICIES)):
        assert f"`{name}`" in PAGE, name


def test_every_shipped_policy_says_first_what_it_is_for() -> None:
    for path in (ROOT / "value_model" / "policies").glob("*.toml"):
        assert path.read_text().startswith("# "), path


def test_every_rule_is_on_the_page() -> None:
    rules = {a or b for path in SOURCES for a, b in RULE.findall(path.read_text())}
    assert {"units", "discount", "calibration", "fields"} <= rules
    for rule in rules:
        assert f"`{rule}`" in PAGE, rule


def test_every_slate_rule_is_on_the_page() -> None:
    for rule in RULES:
        assert f"| `{rule.example}` | {rule.__doc__.splitlines()[0]} |" in PAGE, rule.key


def test_the_example_file_is_valid() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    policy = parse_policy(example.group(1))
    assert check_policy(policy) == []
    assert MerchantCap(3) in policy.slate.rules
