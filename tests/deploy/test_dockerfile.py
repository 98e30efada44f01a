"""The Dockerfile: what a linter would say of it, whether its commands are the program's, and what its steps make."""

import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dockerfile
import pytest
from program import parsed

from jobs.serve import free_port

ROOT = Path(__file__).parents[2]
STEPS = dockerfile.parse_file(str(ROOT / "Dockerfile"))


def stages():
    """{name: its steps, the FROM first}, in order."""
    rows = {}
    for step in STEPS:
        if step.cmd == "FROM":
            name = step.value[-1]
            rows[name] = []
        if rows:
            rows[name].append(step)
    return rows


STAGES = stages()
IMAGES = {"serving", "whole"}


def lineage(name):
    """The steps of a stage after those of the stages that it is made from."""
    base = STAGES[name][0].value[0]
    return [*(lineage(base) if base in STAGES else []), *STAGES[name]]


def last(name, command):
    return [step for step in lineage(name) if step.cmd == command][-1]


def test_every_stage_is_named_and_used_and_its_image_has_a_version():
    used = {flag.removeprefix("--from=") for step in STEPS for flag in step.flags if flag.startswith("--from=")}
    for first, *_ in STAGES.values():
        assert first.value[1] == "AS"
        base = first.value[0]
        assert base in STAGES or re.fullmatch(r"[\w/.-]+:[\w.${}-]*\d*[\w.${}-]+", base)
        assert not base.endswith(":latest")
        used |= {base}
    assert set(STAGES) - used == IMAGES
    assert list(STAGES)[-1] == "serving", "what `docker build` makes without --target"


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_an_image_runs_as_nobody_special_and_gets_its_signals(name):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", *last(name, "USER").value)
    for command in ("ENTRYPOINT", "CMD"):
        assert last(name, command).json, "a shell in between would keep the signals"
    assert hasattr(signal, last(name, "STOPSIGNAL").value[0])
    environment = dict(zip(*[iter(last(name, "ENV").value)] * 2, strict=True))
    assert not [key for key in environment if re.search("KEY|SECRET|PASSWORD|TOKEN", key)]
    assert environment["PATH"].startswith("/opt/value-model/bin:")


def test_every_step_installs_pinned_packages_and_leaves_nothing_behind():
    assert not [step for step in STEPS if step.cmd in {"ADD", "MAINTAINER"}]
    for step in STEPS:
        text = " ".join(step.value)
        if step.cmd == "WORKDIR":
            assert text.startswith("/")
        if step.cmd == "RUN" and " install " in text and "pip" in text:
            assert "--require-hashes --only-binary :all:" in text or "--no-deps /wheels/" in text
            assert "--no-cache-dir" in text
        if step.cmd == "RUN" and "apt-get install" in text:
            assert "--no-install-recommends" in text
            assert "rm -rf /var/lib/apt/lists/*" in text
        assert "sudo" not in text
        assert not (step.cmd == "RUN" and text.startswith("cd "))


def test_what_is_copied_is_there_and_not_ignored():
    lines = (ROOT / ".dockerignore").read_text().split()
    sent = {line[1:] for line in lines if line.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert packages <= sent
    for step in STEPS:
        if step.cmd == "COPY" and not step.flags:
            for source in step.value[:-1]:
                assert (ROOT / source).exists()
                assert source == "." or any(fnmatch.fnmatch(source, line) for line in sent)


def test_the_commands_are_those_of_the_program_and_the_probe_asks_where_it_listens():
    options = parsed(last("serving", "CMD").value)
    assert (options["host"], str(options["port"])) == ("0.0.0.0", *last("serving", "EXPOSE").value)
    assert options["log"].parent in {Path(path) for path in last("serving", "RUN").value[0].split() if path[0] == "/"}
    probe = last("serving", "HEALTHCHECK")
    assert f"http://127.0.0.1:{options['port']}/healthz" in probe.value[-1]
    compile(probe.value[-1], "HEALTHCHECK", "exec")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="the steps give folders to another user, which root alone may do")
def test_the_steps_of_the_image_make_a_service_that_is_ready(run_folder, tmp_path):
    """Every step of it and of the stages that it copies from, each stage in a folder that stands for its root."""
    roots = {}
    for name in ("wheel", "serving-packages", "serving"):
        roots[name] = Root(tmp_path / name)
        for step in lineage(name):
            roots[name].take(step, roots)
    root = roots["serving"]
    python, program = (root.path / "opt/value-model/bin" / name for name in ("python", "value-model"))
    assert subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode != 0
    command = [python, program, *(root.inside(word) for word in last("serving", "CMD").value)]
    command[command.index("--port") + 1] = str(port := free_port())
    shutil.copytree(run_folder, root.path / "srv/market", symlinks=True, dirs_exist_ok=True)
    environment = dict(zip(*[iter(last("serving", "ENV").value)] * 2, strict=True))
    before = written(root.path)
    with subprocess.Popen(command, cwd=root.path, env=environment) as service:
        try:
            probe = last("serving", "HEALTHCHECK").value[2:]
            ready = [word.replace("8080/healthz", f"{port}/readyz") for word in probe]
            wait_until(lambda: subprocess.run([root.python(), *ready[1:]], capture_output=True).returncode == 0)
        finally:
            service.send_signal(getattr(signal, last("serving", "STOPSIGNAL").value[0]))
    assert service.returncode == 0
    assert (root.path / "srv/log/log.sqlite").exists()
    changed = {path for path, _ in written(root.path).items() - before.items()}
    assert not [path for path in changed if not path.is_relative_to(root.path / "srv/log")], "the root is read-only"


def written(folder):
    """{file: when it was written last}."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
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
            subprocess.run(command, shell=True, check=True, cwd=self.work)

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
