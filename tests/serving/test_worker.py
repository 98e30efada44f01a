"""One gunicorn worker among clients that are rude, slow, gone or too many."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

HERE = Path(__file__).parent
JSON = b"Host: x\r\nContent-Type: application/json\r\n"
GONE = 'answers_total{route="/v1/recommend",status="499"}'
REFUSED = ('answers_total{route="/v1/recommend",status="503"}', 'unanswered_total{reason="busy"}')
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def policies_until(tmp_path_factory):
    """The file that what changes a policy waits for."""
    return tmp_path_factory.mktemp("policies") / "until"


@pytest.fixture(scope="module")
def server(policies_until):
    """The port and the process of gunicorn with one worker over a `FakeService`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["-c", "python:serving.gunicorn_settings", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "POLICIES_UNTIL": str(policies_until)}
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


def body(name, *, until=None):
    """Of a request, which takes until a file is there."""
    context = {} if until is None else {"until": str(until)}
    return json.dumps({"surface": "home", "user_id": "u", "request_id": name, "context": context}).encode()


def rank(port, name, *, until=None, headers=None):
    """Status, headers and content of the answer to `body`."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/recommend", body(name, until=until))
    request.add_header("Content-Type", "application/json")
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.load(refused)


def admitted(port, name, **options):
    """What `rank` gives, asked again while it is refused because others wait."""
    end = time.monotonic() + 20
    while (answer := rank(port, name, **options))[0] == 503:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return answer


@contextmanager
def held(port, name, until):
    """The slot answers a request for as long as the block runs; the list that its answer comes into."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(admitted(port, name, until=until)))
    thread.start()
    wait_for(until.with_suffix(".begun").exists)
    try:
        yield answers
    finally:
        until.touch()
        thread.join()


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def looked(port):
    """The server has seen by now what was sent, and who had closed, before."""
    with connect(port) as client:
        client.sendall(HEALTH)
        assert received(client).startswith(b"HTTP/1.1 200 OK")


def counted(port, series):
    """What /metrics says of it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as metrics:
        text = metrics.read().decode()
    number = re.search(re.escape(series) + r" (\S+)", text)
    return 0.0 if number is None else float(number[1])


def refuses(port):
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


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


def test_what_changes_a_policy_holds_up_no_shopper(port, policies_until):
    with connect(port) as client:
        client.sendall(b"GET /v1/policy HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [admitted(port, f"beside {number}")[0] for number in range(20)]
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)  # it is still being looked at
        policies_until.touch()
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
    assert admitted(port, "among slow ones")[0] == 200
    for client in clients[:20]:
        client.sendall(b"\r\n{")
    assert admitted(port, "among slow ones again")[0] == 200
    for client in clients:
        client.close()


def test_an_answer_that_is_taken_slowly_holds_nothing_and_arrives_whole(port):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 5 + HEALTH)
        assert admitted(port, "beside one that does not read")[0] == 200
        assert received(client, until=b'{"status":"ok"}').count(b"</html>") == 5


def test_health_is_answered_and_who_would_wait_too_long_is_refused_while_a_request_runs(port, tmp_path):
    before = [counted(port, series) for series in REFUSED]
    with held(port, "the slot", tmp_path / "until") as answers:
        looked(port)
        status, headers, problem = rank(port, "refused")
        assert (status, headers["Retry-After"], problem["status"]) == (503, "1", 503)
        assert answers == []
    assert answers[0][0] == 200
    assert [counted(port, series) for series in REFUSED] == [number + 1 for number in before]
    assert admitted(port, "refused")[0] == 200  # it was not on record


@pytest.mark.parametrize("waits", [True, False])
def test_what_nobody_waits_for_is_not_on_record(port, waits, tmp_path):
    for number in range(20):
        admitted(port, f"short {waits} {number}")
    name, until, before = f"abandoned {waits}", tmp_path / "abandoned", counted(port, GONE)
    content = body(name, until=until)
    with held(port, f"before {waits}", tmp_path / "before") if waits else nullcontext(), connect(port) as client:
        client.sendall(
            b"POST /v1/recommend HTTP/1.1\r\nContent-Length: %d\r\n" % len(content) + JSON + b"\r\n" + content
        )
        looked(port) if waits else wait_for(until.with_suffix(".begun").exists)
        client.close()
        looked(port)
        until.touch()
    assert admitted(port, name)[0] == 200
    assert counted(port, GONE) == before + 1


def test_a_callers_deadline_is_read_and_one_that_is_none_refused(port):
    assert admitted(port, "in time", headers={"X-Timeout-Ms": "5000"})[0] == 200
    status, _, problem = rank(port, "when?", headers={"X-Timeout-Ms": "soon"})
    assert (status, problem["problems"][0]["field"]) == (400, "header X-Timeout-Ms")


def test_a_signal_lets_what_has_begun_be_answered(server, tmp_path):
    port, process = server
    with held(port, "the last", tmp_path / "until") as answers:
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(port))
    assert answers[0][0] == 200
    assert process.wait(timeout=20) == 0
