"""The service as it runs: gunicorn, a real bundle, HTTP, and no TensorFlow in the process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.manifest import point_current
from serving.replay import replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(bundle_folder, tmp_path_factory):
    """Base URL, the folder with the link `current`, the log's path, and the worker's pid."""
    home = tmp_path_factory.mktemp("service")
    point_current(home / "current", bundle_folder)
    (home / "metrics").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "VALUE_MODEL_BUNDLE": str(home / "current"),
        "VALUE_MODEL_LOG": str(home / "log.sqlite"),
        "VALUE_MODEL_POLL_SECONDS": "0.1",
        "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
    }
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:serving.gunicorn_settings", "serving.wsgi:create()"]
    command = [*gunicorn, "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    server = subprocess.Popen(command, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: call(url, "/readyz")[0] == 200, seconds=60)
        yield url, home, server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def call(url, path, content=None):
    request = urllib.request.Request(url + path, data=None if content is None else json.dumps(content).encode())
    if content is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if "json" in answer.headers["Content-Type"] else body.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:  # not listening, or slow on a busy machine
        return 0, {}


def wait_until(condition, *, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def worker_of(server):
    return psutil.Process(server.pid).children()[0].pid


def test_one_request_through_the_house_and_its_feedback(world, bundle_folder, market):
    url, home, _ = world
    user, time_ = market.dataset.feedback["user_id"][0].as_py(), market.known_until.isoformat()
    body = {"surface": "home", "user_id": user, "time": time_, "k": 5, "explain": True, "request_id": "first"}
    status, answer = call(url, "/v1/recommend", body)
    assert status == 200
    assert len(answer["items"]) == 5
    for item in answer["items"]:
        assert sum(item["contributions"].values()) == pytest.approx(item["value"], rel=1e-12)
    assert call(url, "/v1/recommend", body) == (200, answer)  # from the record: it is logged once
    assert call(url, "/v1/recommend", body | {"k": 6})[0] == 409
    top = answer["items"][0]["item_id"]
    events = [
        {"feedback_id": "c1", "request_id": "first", "event": "click", "time": time_, "user_id": user, "item_id": top}
    ]
    assert call(url, "/v1/feedback", {"events": events}) == (200, {"accepted": 1, "duplicates": 0, "quarantined": {}})
    assert call(url, "/v1/feedback", {"events": events}) == (200, {"accepted": 0, "duplicates": 1, "quarantined": {}})
    log = SqliteLog(home / "log.sqlite")
    slate = log.slate("first")
    assert slate.item_id[slate.position == 1].tolist() == [top]
    assert log.feedback()["feedback_id"].to_pylist() == ["c1"]
    assert replay(build_engine(load_bundle(bundle_folder), log=log).parts, slate).same


def test_the_worker_never_imports_tensorflow(world):
    _, _, server = world
    maps = Path(f"/proc/{worker_of(server)}/maps").read_text()
    assert "onnxruntime" in maps
    assert "libtensorflow" not in maps


def test_a_killed_worker_loses_no_acknowledged_slate(world, market):
    url, home, server = world
    body = {"surface": "home", "user_id": "u", "time": market.known_until.isoformat(), "k": 3}
    acknowledged = [call(url, "/v1/recommend", body | {"request_id": f"k{n}"}) for n in range(5)]
    assert all(status == 200 for status, _ in acknowledged)
    os.kill(worker_of(server), signal.SIGKILL)
    wait_until(lambda: call(url, "/readyz")[0] == 200, seconds=60)
    assert 'value_model_answers_total{route="/v1/recommend",status="200"}' in call(url, "/metrics")[1]
    log = SqliteLog(home / "log.sqlite")
    for _, answer in acknowledged:
        assert log.slate(answer["request_id"]).request_id == answer["request_id"]


def test_the_link_moves_to_a_bad_bundle_and_to_a_good_one(world, bundle_folder, tmp_path):
    url, home, _ = world
    good, bad = tmp_path / "good", tmp_path / "bad"
    shutil.copytree(bundle_folder, good)
    shutil.copytree(bundle_folder, bad)
    (bad / "policy.toml").write_text("")
    point_current(home / "current", bad)
    wait_until(lambda: call(url, "/readyz")[1].get("reload_problem"), seconds=30)
    status, ready = call(url, "/readyz")
    assert (status, ready["ready"]) == (200, True)
    assert "policy.toml was changed" in ready["reload_problem"]
    point_current(home / "current", good)
    wait_until(lambda: call(url, "/readyz")[1].get("reload_problem", "") is None, seconds=30)


def test_a_supervisor_stops_the_command_and_the_log_alone_holds_everything(bundle_folder, market, tmp_path):
    (tmp_path / "bundle").symlink_to(bundle_folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = "from jobs.cli import main; main()"
    command = [sys.executable, "-c", line, "serve", str(tmp_path), "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(command, env=os.environ | {"VALUE_MODEL_SHARE_MEMORY": "1"})
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: call(url, "/readyz")[0] == 200, seconds=90)
    (gunicorn,) = psutil.Process(server.pid).children()
    wait_until(lambda: len(gunicorn.children()) == 2, seconds=30)  # one of them may be ready before the other begins
    children = psutil.Process(server.pid).children(recursive=True)
    memory = [worker.memory_full_info() for worker in gunicorn.children()]
    assert all(one.uss < 0.5 * one.rss for one in memory)  # forks of the process that loaded the bundle
    body = {"surface": "home", "user_id": "u", "time": market.known_until.isoformat(), "k": 3}
    names = [call(url, "/v1/recommend", body | {"request_id": f"s{n}"})[1]["request_id"] for n in range(6)]
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    assert not any(child.is_running() for child in children)
    assert not (tmp_path / "log.sqlite-wal").exists()
    shutil.copy(tmp_path / "log.sqlite", tmp_path / "copy.sqlite")
    assert sorted(SqliteLog(tmp_path / "copy.sqlite").slates()["request_id"].to_pylist()) == names
    assert len(list(tmp_path.glob("log.sqlite.store-*.npz"))) == 1


def test_importing_the_service_imports_no_tensorflow_and_no_opentelemetry():
    names = {"tensorflow", "keras", "opentelemetry"}
    code = f"import sys, serving.wsgi, serving.replay; sys.exit(bool({names} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
