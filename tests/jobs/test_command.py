"""The command teaches, answers at once, and tells users in one line what they can mend."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from jobs.cli import cli

COMMANDS = sorted(cli.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert cli.commands[command].help.split(".")[0] in " ".join(result.output.split())


def test_the_commands_of_the_house():
    commands = "run train-retrieval train-ranker evaluate export serve recommend simulate join-feedback check-data"
    assert set(commands.split()) <= set(COMMANDS)


def test_help_imports_no_model_library():
    code = (
        "import sys, jobs.cli; print([m for m in ('tensorflow', 'lightgbm', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "--data", "nothing", "--out", "{tmp}/r"], "'nothing' is unknown. Choose simulated"),
        (["evaluate", "{tmp}"], "is not a run"),
        (["recommend", "{tmp}"], "is not a bundle"),
        (["run", "--data", "{tmp}/none.toml", "--out", "{tmp}/r"], "none.toml"),
    ],
)
def test_what_a_user_can_mend_is_one_line(arguments, reason, tmp_path):
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    command = [sys.executable, "-c", "from jobs.cli import main; main()", *filled]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
