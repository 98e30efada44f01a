"""The Dockerfile's steps, run without an engine: each stage in a folder that stands for its root."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_dockerfile import ROOT, last, lineage

from jobs.serve import free_port

PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the steps give folders to another user, which root alone may do"),
]


def test_the_steps_of_the_image_make_a_service_that_is_ready(request, tmp_path):
    """Every step of it and of the stages that it copies from; what they make serves, without TensorFlow.

    VALUE_MODEL_RUN names a run that it serves, instead of a new one.
    """
    served = Path(os.environ.get("VALUE_MODEL_RUN") or request.getfixturevalue("run_folder"))
    roots = {}
    for name in ("wheel", "serving-packages", "serving"):
        roots[name] = Root(tmp_path / name)
        for step in lineage(name):
            roots[name].take(step, roots)
    root = roots["serving"]
    python, program = (root.path / "opt/value-model/bin" / name for name in ("python", "value-model"))
    assert subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode != 0
    words = [root.inside(word) for word in last("serving", "CMD").value]
    words[words.index("--port") + 1] = str(port := free_port())
    shutil.copytree(served, root.path / "srv/market", symlinks=True, dirs_exist_ok=True)
    environment = dict(zip(*[iter(last("serving", "ENV").value)] * 2, strict=True))
    before = written(root.path)
    with subprocess.Popen([python, program, *words], cwd=root.path, env=environment) as service:
        try:
            probe = last("serving", "HEALTHCHECK").value[2:]
            ready = [word.replace("8080/healthz", f"{port}/readyz") for word in probe]
            wait_until(lambda: subprocess.run([python, *ready], capture_output=True).returncode == 0, service)
        finally:
            service.send_signal(getattr(signal, last("serving", "STOPSIGNAL").value[0]))
    assert service.returncode == 0
    assert (root.path / "srv/log/log.sqlite").exists()
    changed = {path for path, _ in written(root.path).items() - before.items()}
    assert not [path for path in changed if not path.is_relative_to(root.path / "srv/log")], "the root is read-only"


def written(folder):
    """{file: when it was written last}."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def wait_until(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


class Root:
    """The folder that stands for the root of one stage; absolute paths of a step are taken to lie in it."""

    def __init__(self, path):
        self.path, self.work = path, path
        path.mkdir()

    def inside(self, text):
        """The paths that the Dockerfile makes, wherever a command names them."""
        return re.sub(r"(?<![\w.])/(opt|source|srv|wheels|locks)\b", lambda match: f"{self.path}{match[0]}", text)

    def take(self, step, roots):
        if step.cmd == "WORKDIR":
            self.work = Path(self.inside(step.value[0]))
            self.work.mkdir(parents=True, exist_ok=True)
        elif step.cmd == "COPY":
            self.copy(step, roots)
        elif step.cmd == "RUN":
            command = self.inside(step.value[0]).replace("python -m", f"{self.python()} -m")
            subprocess.run(command, shell=True, check=True, cwd=self.work, env=PLAIN)

    def python(self):
        """A Python with pip of this stage, as the base image has one."""
        home = self.path / "usr"
        if not home.exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
        return home / "bin" / "python"

    def copy(self, step, roots):
        target = Path(self.inside(step.value[-1])) if step.value[-1][0] == "/" else self.work / step.value[-1]
        for source in step.value[:-1]:
            if step.flags:
                place = roots[step.flags[0].removeprefix("--from=")].path / source.lstrip("/")
            else:
                place = ROOT / source
            if place.is_dir():
                shutil.copytree(place, target, dirs_exist_ok=True, ignore=unsent(place), symlinks=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(place, target)


def unsent(place):
    """What .dockerignore keeps from the builder, where the whole tree is copied."""
    if place != ROOT:
        return None
    lines = (ROOT / ".dockerignore").read_text().split()
    sent = {line[1:].split("/")[0] for line in lines if line.startswith("!")}
    return lambda folder, names: [
        name for name in names if name == "__pycache__" or (Path(folder) == ROOT and name not in sent)
    ]
