"""Producer, consumer and broker are killed mid-load: every record arrives, and counts once."""

import subprocess
import sys
import time
from pathlib import Path

from kafka_brokers import QUICK, running_brokers
from made_slates import make_feedback, make_slate, same_rows

from marketplace.sqlite_log import SqliteLog

COMMAND = [sys.executable, "-c", "from jobs.cli import main; main()"]
STEP, STEPS = 25, 8  # records of each kind appended at once


def test_every_record_counts_once_though_producer_consumer_and_broker_are_killed(tmp_path):
    log, target = SqliteLog(tmp_path / "log.sqlite"), SqliteLog(tmp_path / "target.sqlite")
    with running_brokers(tmp_path) as (brokers, small):
        settings = dict(brokers.settings) | (QUICK if small else {})
        file = tmp_path / "client.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        place = ["--kafka", str(file), "--prefix", brokers.prefix, "--partitions", "2"]
        produce = ["produce", str(tmp_path), *place]
        consume = ["consume", "--into", str(tmp_path / "target.sqlite"), *place]
        running = {name: start(command, tmp_path) for name, command in (("produce", produce), ("consume", consume))}
        try:
            for step in range(STEPS):
                append(log, step)
                if step == 2:
                    arrived(target, 2 * STEP)
                    running["produce"].kill()
                if step == 3:
                    running["produce"] = start(produce, tmp_path)
                    arrived(target, 3 * STEP)
                    running["consume"].kill()
                    running["consume"] = start(consume, tmp_path)
                if step == 5 and small:
                    arrived(target, 5 * STEP)
                    small.kill()
                if step == 6 and small:
                    small.start()
            arrived(target, STEP * STEPS)
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    assert same_rows(target.slates(), log.slates())
    assert same_rows(target.feedback(), log.feedback())


def append(log, step):
    for n in range(step * STEP, (step + 1) * STEP):
        log.append(make_slate(f"r{n}", minutes=n, user_id=f"u{n % 7}"))
    events = [(f"f{n}", f"r{n}", "click", "a", n, None) for n in range(step * STEP, (step + 1) * STEP)]
    log.append_feedback(make_feedback(*events))


def start(command, folder):
    with (folder / f"{command[0]}.txt").open("a") as out:
        return subprocess.Popen([*COMMAND, *command], cwd=Path(__file__).parents[2], stdout=out, stderr=out)


def arrived(target, many):
    """Wait until the target holds so many slates and events."""
    deadline = time.monotonic() + 60
    while True:
        counts = [target._rows(f"SELECT count(*) FROM {name}", ())[0][0] for name in ("slates", "feedback")]
        if min(counts) >= many:
            return
        assert time.monotonic() < deadline, f"{counts} of {many} arrived"
        time.sleep(0.05)
