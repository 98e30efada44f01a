"""What other machines do: the forge's workflow is valid and calls targets that there are; audits are honest."""

import configparser
import json
import re
import runpy
from importlib.resources import files
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
AUDIT = runpy.run_path(str(ROOT / "deploy" / "audit.py"))["audit"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_workflow_is_valid_by_its_schema():
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
    text = re.sub(r"^on:", "'on':", WORKFLOW.read_text(), flags=re.M)  # to YAML 1.1 a bare `on` is true
    jsonschema.validate(yaml.safe_load(text), json.loads(schema.read_text()))


def test_the_workflow_tests_every_python_that_is_promised_with_targets_that_there_are():
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    promised = re.findall(r"Python :: (3\.\d+)", settings["metadata"]["classifiers"])
    assert jobs["test"]["strategy"]["matrix"]["python"] == promised
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = {word for line in steps if line.startswith("make ") for word in line.split()[1:]}
    assert {"test", "docs-site", "sbom", "audit"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))


def test_a_wheel_has_every_file_of_the_packages_that_is_no_code():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    taken = {package: lines.split() for package, lines in settings["options.package_data"].items()}
    for package in (
        path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "benchmarks"}
    ):
        for path in package.rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc"}:
                name = path.relative_to(package)
                assert any(name.match(pattern) for pattern in taken.get(package.name, [])), f"{package.name}/{name}"


def test_an_audit_says_what_was_not_audited_and_fails_for_a_known_flaw_alone(tmp_path):
    rows = {
        "safe": {"name": "safe", "version": "1", "vulns": []},
        "unknown": {"name": "unknown", "skip_reason": "not there"},
        "flawed": {"name": "flawed", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]},
    }
    for names, vulnerable, text in (
        (["safe"], False, "1 packages audited, 0 known"),
        (["safe", "unknown"], False, "NOT audited, the registry does not answer for unknown"),
        (["unknown", "flawed"], True, "flawed 2: CVE-1, mended in 3"),
        ([], False, "0 packages audited"),
    ):
        answer = json.dumps({"dependencies": [rows[name] for name in names]})
        assert AUDIT(program(tmp_path, f"echo '{answer}'"), "a.lock")[0] == vulnerable
        assert text in AUDIT(program(tmp_path, f"echo '{answer}'"), "a.lock")[1]
    assert AUDIT(program(tmp_path, "echo 'no route' >&2; exit 1"), "a.lock") == (False, "a.lock: NOT audited: no route")


def program(folder, line):
    path = folder / "pip-audit"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)
