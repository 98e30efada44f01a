"""deploy/value-model.service: read by systemd itself, and held against the program."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from program import parsed, variables

from serving.gunicorn_settings import graceful_timeout

UNIT = Path(__file__).parents[2] / "deploy" / "value-model.service"
PROGRAM = "/opt/value-model/bin/value-model"
EXPOSURE = 20  # of 100, as `systemd-analyze security` counts what a service could still do


class Repeated(dict):
    """A key that comes again adds to what it had."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [*self.get(key, []), *value] if isinstance(value, list) else value)


@pytest.fixture
def service():
    unit = configparser.ConfigParser(strict=False, interpolation=None, dict_type=Repeated)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def test_the_command_is_one_of_the_program_and_writes_to_its_own_folder(service):
    program, *words = service["ExecStart"].split()
    options = parsed(words)
    assert program == PROGRAM
    assert options["log"].parent == Path("/var/lib") / service["StateDirectory"]
    assert options["folder"].is_relative_to(service["ReadOnlyPaths"])
    assert service["Environment"].split("=")[0] in variables(words)
    assert int(service["TimeoutStopSec"]) > graceful_timeout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_reads_it_and_lets_it_do_little(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    for command in (["verify", unit], ["security", "--offline=yes", f"--threshold={EXPOSURE}", unit]):
        answer = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert UNIT.name not in answer.stderr, answer.stderr
