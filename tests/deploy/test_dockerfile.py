"""The Dockerfile: what a linter would say of it, and whether its commands are the program's."""

import fnmatch
import re
import signal
from pathlib import Path

import dockerfile
import pytest
from program import parsed

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
