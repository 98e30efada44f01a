"""The tutorials as a stranger follows them: every command of the three pages, in their order, in one folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from jobs.serve import free_port

ROOT = Path(__file__).parents[2]
COMMANDS = re.compile(r"^    ((?:value-model|curl|cp|sed) .*)$", re.M)
REFUSABLE = re.compile("value-model (tune|evaluate-policy|watch) ")  # a small log cannot promise
PROGRAM = f"#!/bin/sh\nexec {sys.executable} -c 'from jobs.cli import main; main()' \"$@\"\n"


def commands(page):
    return COMMANDS.findall((ROOT / "docs" / "tutorials" / f"{page}.md").read_text("utf-8"))


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a line in a folder where `value-model` is this tree's program; what it prints."""
    folder = tmp_path_factory.mktemp("stranger")
    program = folder / "bin" / "value-model"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    paths = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(line):
        answer = subprocess.run(line, shell=True, cwd=folder, env=os.environ | paths, capture_output=True, text=True)
        codes = {0, 1} if REFUSABLE.match(line) else {0}
        assert answer.returncode in codes, f"{line}\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}"
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer.stdout

    run.folder, run.environment = folder, os.environ | paths
    return run


@contextmanager
def served(shell, line):
    """The port of a service that a line starts in the background."""
    port = free_port()
    line = line.replace("--port 8080", f"--port {port}")
    service = subprocess.Popen(line.split(), cwd=shell.folder, env=shell.environment)
    try:
        deadline = time.monotonic() + 90
        while not ready(port):
            assert service.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0


def ready(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.slow
@pytest.mark.xdist_group("tutorials")
def test_the_first_hours_of_a_data_scientist_a_night_engineer_and_a_product_manager(shell):
    *lines, serve = commands("data_scientist")
    for line in lines:
        shell(line)
    with served(shell, serve):
        pass
    assert (shell.folder / "runs" / "leaves" / "comparison").exists()
    night(shell)
    manager(shell)


def night(shell):
    serve, *lines = commands("night_engineer")
    curls = [line for line in lines if line.startswith("curl")]
    with served(shell, serve) as port:
        readiness, recommend, metrics, feedback = [line.replace(":8080", f":{port}") for line in curls]
        assert "bundle" in json.loads(shell(readiness))
        items = json.loads(shell(recommend))["items"]
        assert len(items) == 3
        assert "value_model_answers_total" in shell(metrics)
        answer = json.loads(shell(feedback.replace("ITEM", items[0]["item_id"])))
        assert answer["accepted"] == 1
    for line in lines[len(curls) :]:
        shell(line)


def manager(shell):
    lines = commands("product_manager")
    for line in lines:
        if "publish mine.toml" in line:
            policy = shell.folder / "mine.toml"
            text = re.sub(r"(\[weights\.w_order\]\nvalue = )4\.0", r"\g<1>4.5", policy.read_text())
            policy.write_text(text)
        shell(line)
    assert "growth" in shell("value-model publish runs/first")
