"""The lock files of deploy/ pin, with hashes, what is listed, at the versions of constraints.txt that the tests run."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"^[A-Za-z0-9][\w.-]*")
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def same(name: str) -> str:
    """A package's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(text: str) -> set[str]:
    return {same(match[0]) for line in text.splitlines() if (match := NAME.match(line.strip()))}


def pins(path: Path) -> dict[str, str]:
    return {same(name): version for name, version in PIN.findall(path.read_text())}


def required() -> set[str]:
    """What the default install takes, with the clients of the live plane and of a collector of spans."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    return listed(settings["options"]["install_requires"]) | listed(extras["live"]) | listed(extras["otel"])


LISTS = {
    "build": listed((DEPLOY / "build.in").read_text()),
    "serving": listed((DEPLOY / "serving.in").read_text()),
    "whole": required(),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_lock_file_pins_what_is_listed_as_the_tests_run_it(name):
    lock = pins(DEPLOY / f"{name}.lock")
    assert LISTS[name] <= lock.keys(), "run `make lock`"
    constraints = pins(ROOT / "constraints.txt")
    other = {package: version for package, version in lock.items() if constraints.get(package) != version}
    assert other == {}, "run `make lock`; what constraints.txt lacks belongs into it"


@pytest.mark.parametrize("name", LISTS)
def test_every_pin_has_hashes(name):
    text = (DEPLOY / f"{name}.lock").read_text()
    for entry in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert re.search(r" \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_serving_environment_is_a_part_of_the_whole_one_without_tensorflow():
    assert LISTS["serving"] <= LISTS["whole"]
    assert not [name for name in pins(DEPLOY / "serving.lock") if "tensorflow" in name or "keras" in name]
