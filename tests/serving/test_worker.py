"""One gunicorn worker among clients that are rude, slow, gone or too many."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
JSON = b"Host: x\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    """The port and the process of gunicorn with one worker over a `FakeService`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["-c", "python:serving.gunicorn_settings", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    command = [sys.executable, "-m", "gunicorn", *settings, "fake_service:application()"]
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            connect(port).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None
            time.sleep(0.05)
    yield port, process
    process.kill()
    process.wait()


@pytest.fixture
def port(server):
    return server[0]


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def rank(port, name, *, seconds=0.0, headers=None):
    """Status, headers and content of a request that takes so long."""
    content = {"surface": "home", "user_id": "u", "request_id": name, "context": {"seconds": str(seconds)}}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/recommend", json.dumps(content).encode())
    request.add_header("Content-Type", "application/json")
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.load(refused)


def in_background(port, name, seconds):
    """A thread that asks, and the list that its answer comes into; the slot has begun with it."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(rank(port, name, seconds=seconds)))
    thread.start()
    time.sleep(0.25)
    return thread, answers


def received(client, until=b"\r\n\r\n"):
    data = b""
    while until not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"nonsense\r\n\r\n", 400, b"request line"),
        (b"POST /v1/rank HTTP/1.1\r\nContent-Length: 2000000\r\n" + JSON + b"\r\n", 413, b"larger than 1048576"),
        (b"POST /v1/rank HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + JSON + b"\r\nzz\r\n", 400, b"chunk size"),
        (b"GET /adm/healthz HTTP/1.1\r\nSCRIPT_NAME: /adm\r\nConnection: close\r\n" + JSON + b"\r\n", 404, b"no route"),
    ],
)
def test_what_is_refused_before_a_route_sees_it_is_a_problem_too(port, sent, status, reason):
    with connect(port) as client:
        client.sendall(sent)
        answer = b""
        while piece := client.recv(65536):  # until the connection is closed
            answer += piece
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json\r\n" in answer
    assert reason in answer
    assert b"traceparent: 00-" in answer


def test_what_changes_a_policy_holds_up_no_shopper(port):
    with connect(port) as client:
        client.sendall(b"GET /v1/policy HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [rank(port, f"beside {number}")[0] for number in range(20)]
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)  # it is still being looked at
        client.settimeout(20)
        assert b"there are none" in received(client, until=b"there are none")
    assert answers == [200] * 20


def test_a_connection_is_kept_and_its_requests_are_answered_in_turn(port):
    with connect(port) as client:
        client.sendall(HEALTH * 500 + HEALTH.replace(b"healthz", b"nowhere"))
        assert received(client, until=b"no route /nowhere").count(b'{"status":"ok"}') == 500


def test_idle_and_slow_clients_hold_nothing(port):
    clients = [connect(port) for _ in range(60)]
    for client in clients[:20]:
        client.sendall(b"POST /v1/recommend HTTP/1.1\r\nContent-Length: 9\r\n" + JSON)
    assert rank(port, "among slow ones")[0] == 200
    for client in clients[:20]:
        client.sendall(b"\r\n{")
    assert rank(port, "among slow ones again")[0] == 200
    for client in clients:
        client.close()


def test_an_answer_that_is_taken_slowly_holds_nothing_and_arrives_whole(port):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 5 + HEALTH)
        assert rank(port, "beside one that does not read")[0] == 200
        assert received(client, until=b'{"status":"ok"}').count(b"</html>") == 5


def test_health_is_answered_and_who_would_wait_too_long_is_refused_while_a_request_runs(port):
    assert rank(port, "so long it takes", seconds=0.5)[0] == 200
    thread, answers = in_background(port, "the slot", 0.8)
    with connect(port) as client:
        client.sendall(HEALTH)
        assert received(client).startswith(b"HTTP/1.1 200 OK")
    status, headers, problem = rank(port, "refused")
    assert (status, headers["Retry-After"], problem["status"]) == (503, "1", 503)
    assert answers == []
    thread.join()
    assert answers[0][0] == 200
    time.sleep(0.5)  # idle for as long as a request takes
    assert rank(port, "refused")[0] == 200  # it was not on record
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as metrics:
        counted = metrics.read().decode()
    assert 'answers_total{route="/v1/recommend",status="503"} 1.0' in counted
    assert 'value_model_unanswered_total{reason="busy"} 1.0' in counted


@pytest.mark.parametrize("waits", [True, False])
def test_what_nobody_waits_for_is_not_on_record(port, waits):
    for _ in range(20):
        rank(port, f"short {time.time()}")
    name = f"abandoned {waits}"
    thread, _ = in_background(port, f"before {waits}", 0.3 if waits else 0.0)
    body = json.dumps({"surface": "home", "user_id": "u", "request_id": name, "context": {"seconds": "0.3"}}).encode()
    client = connect(port)
    client.sendall(b"POST /v1/recommend HTTP/1.1\r\nContent-Length: %d\r\n" % len(body) + JSON + b"\r\n" + body)
    time.sleep(0.1)
    client.close()
    thread.join()
    time.sleep(0.5)
    assert rank(port, name)[0] == 200


def test_a_callers_deadline_is_read_and_one_that_is_none_refused(port):
    assert rank(port, "in time", headers={"X-Timeout-Ms": "5000"})[0] == 200
    status, _, problem = rank(port, "when?", headers={"X-Timeout-Ms": "soon"})
    assert (status, problem["problems"][0]["field"]) == (400, "header X-Timeout-Ms")


def test_a_signal_lets_what_has_begun_be_answered(server):
    port, process = server
    thread, answers = in_background(port, "the last", 0.5)
    process.send_signal(signal.SIGTERM)
    thread.join()
    assert answers[0][0] == 200
    assert process.wait(timeout=20) == 0
