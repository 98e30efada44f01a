"""`value-model up`: parts that are started again, that end with it, and that it goes on with after `kill -9`."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from test_serve import wait_until

from jobs.up import KeptProcess, _kept_up

# Each part writes its process down, and waits.
UP = """
import pathlib, sys
from jobs import up
home = pathlib.Path(sys.argv[1])
up.PROGRAM, up.LONGEST_WAIT, up.RESTART_SECONDS = (sys.executable, "-c"), 0.1, 0.1
up.KeptProcess.wait = 0.1
STAY = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).open('a').write(f'{os.getpid()}\\\\n'); time.sleep(60)"
parts = {name: [STAY, str(home / name)] for name in ("service", "learn")}
sys.exit(up.up(home, parts, host="127.0.0.1", port=0, log=home / "log.sqlite"))
"""
SLOW = 60  # seconds that a process may take to import what it needs, on a busy machine
ROOT = Path(__file__).parents[2]


def started(home: Path, name: str) -> list[int]:
    path = home / name
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child that its parent died")
def test_parts_are_started_again_end_with_it_and_are_taken_up_after_a_kill(tmp_path):
    def begin():
        command = [sys.executable, "-c", UP, str(tmp_path)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    process = begin()
    wait_until(lambda: len(started(tmp_path, "learn")) == 1 and len(started(tmp_path, "service")) == 1, SLOW)
    os.kill(started(tmp_path, "learn")[0], signal.SIGKILL)
    wait_until(lambda: len(started(tmp_path, "learn")) == 2)
    assert len(started(tmp_path, "service")) == 1
    process.kill()
    process.wait()
    wait_until(lambda: all(gone(pid) for name in ("service", "learn") for pid in started(tmp_path, name)))
    process = begin()
    wait_until(lambda: len(started(tmp_path, "learn")) == 3 and len(started(tmp_path, "service")) == 2, SLOW)
    groups = {os.getpgid(started(tmp_path, name)[-1]) for name in ("service", "learn")}
    assert groups == {os.getpgid(process.pid)}
    process.terminate()
    printed, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert printed.count("learn: started") == 1
    assert printed.splitlines()[-1].endswith("service: stopped")
    assert all(gone(pid) for name in ("service", "learn") for pid in started(tmp_path, name))


def test_it_ends_where_a_part_can_never_do_its_work(tmp_path, capsys):
    with (tmp_path / "lock").open("a") as lock:
        part = KeptProcess("fails", [sys.executable, "-S", "-c", "import sys; sys.exit(2)"])
        part.start(lock.fileno())
        assert _kept_up([part], threading.Event(), lock.fileno()) == 2
    assert capsys.readouterr().out.endswith("fails: ended with 2\n")
