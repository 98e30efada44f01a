"""`value-model serve` to whoever supervises it: signals, exit codes and clear lines, with a stand-in for gunicorn."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests
from click.testing import CliRunner

from jobs.child_process import restarted
from jobs.cli import cli
from jobs.serve import ServiceFailed, free_port, running, serve
from marketplace.schema import SchemaError

GUNICORN = """
import pathlib, signal, sys, time
home = pathlib.Path(sys.argv[1])
def drain(*_):
    time.sleep(0.2)
    (home / "drained").touch()
    sys.exit(7)
signal.signal(signal.SIGTERM, drain)
(home / "started").touch()
time.sleep(60)
"""
SERVE = """
import pathlib, sys
from jobs import serve
home = pathlib.Path(sys.argv[1])
serve.command = lambda host, port, workers: [sys.executable, "-c", sys.argv[2], str(home)]
sys.exit(serve.serve(home, host="127.0.0.1", port=serve.free_port(), workers=1, log=None))
"""


@pytest.fixture
def service(tmp_path):
    """The process of `serve`, and that of its gunicorn."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path), GUNICORN], cwd=Path(__file__).parents[2])
    wait_until((tmp_path / "started").exists)
    (child,) = psutil.Process(process.pid).children()
    yield process, child
    for one in (process, child):
        if one.poll() is None if isinstance(one, subprocess.Popen) else one.is_running():
            one.kill()
    process.wait()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_drains_and_ends_gunicorn_and_its_exit_code_is_passed_on(service, tmp_path, number):
    process, child = service
    process.send_signal(number)
    assert process.wait(timeout=20) == 7
    assert (tmp_path / "drained").exists()
    assert not child.is_running()


def test_a_process_beside_the_service_is_started_again_and_ends_with_the_block(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.child_process.RESTART_SECONDS", 0.0)
    started = tmp_path / "started"
    with restarted(["sh", "-c", f"echo $$ >> {started}; exec sleep 60"]):
        wait_until(started.exists)
        wait_until(lambda: started.read_text().endswith("\n"))
        os.kill(int(started.read_text()), signal.SIGKILL)
        wait_until(lambda: started.read_text().count("\n") == 2)
    second = int(started.read_text().split()[1])
    assert not psutil.pid_exists(second)


def test_a_dead_master_is_an_exit_code_above_0(service):
    process, child = service
    child.kill()
    assert process.wait(timeout=20) == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child that its parent died")
def test_no_orphan_goes_on_serving(service, tmp_path):
    process, child = service
    process.kill()
    process.wait()
    wait_until((tmp_path / "drained").exists)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_an_address_in_use_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceFailed, match=f"127.0.0.1:{port} cannot be bound: Address already in use"):
            serve(tmp_path, host="127.0.0.1", port=port, workers=1, log=None)


def test_a_log_that_is_none_is_said_before_anything_starts(tmp_path):
    (tmp_path / "log.sqlite").write_text("a text file, and rather longer than the header of a database")
    with pytest.raises(SchemaError, match=r"log.sqlite cannot be opened as a log: file is not a database"):
        serve(tmp_path, host="127.0.0.1", port=0, workers=1, log=None)


def test_a_readiness_poll_survives_a_slow_answer(tmp_path, monkeypatch):
    ready = SimpleNamespace(status_code=200)
    answers = iter([requests.ReadTimeout("slow"), requests.ConnectionError("not yet"), ready])

    def get(address, timeout):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("jobs.serve.requests.get", get)
    monkeypatch.setattr("jobs.serve.command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    with running(tmp_path, log=tmp_path / "log.sqlite") as address:
        assert address.startswith("http://127.0.0.1:")
    assert next(answers, None) is None


def test_the_command_passes_the_exit_code_on(tmp_path):
    line = "from jobs.cli import main; main()"
    (tmp_path / "log.sqlite").write_text("a text file, and rather longer than the header of a database")
    answer = subprocess.run(
        [sys.executable, "-c", line, "serve", str(tmp_path), "--port", "0"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("value-model: ")
    assert "cannot be opened as a log" in answer.stderr


def test_gunicorn_alone_ends_with_a_code_and_one_line_where_a_worker_cannot_start(tmp_path):
    (tmp_path / "text").write_text("a text file, and rather longer than the header of a database")
    settings = {"VALUE_MODEL_BUNDLE": "nowhere", "VALUE_MODEL_LOG": "text"}
    settings["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "gunicorn", "serving.wsgi:create()", "--bind", f"127.0.0.1:{free_port()}"]
    environment = os.environ | settings
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 3
    assert "CRITICAL serving.wsgi: text cannot be opened as a log: file is not a database" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path):
    result = CliRunner().invoke(cli, ["serve", str(tmp_path / "typo")])
    assert (result.exit_code, (tmp_path / "typo").exists()) == (2, False)
    assert "does not exist" in result.output
