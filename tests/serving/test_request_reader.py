"""Whole requests out of bytes in pieces of any size, and refusals of what is none."""

import pytest
from gunicorn.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.request_reader import RequestReader, Unacceptable

SETTINGS = Config()
HEAD = b"POST /v1/rank HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOST = 1000


def reader():
    return RequestReader(SETTINGS, ("127.0.0.1", 1), most=MOST)


def chunks(body: bytes, sizes: list[int]) -> bytes:
    pieces, start = [], 0
    for size in [*sizes, len(body)]:
        if piece := body[start : start + size]:
            pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        start += size
    return b"".join(pieces) + b"0\r\n\r\n"


@settings(max_examples=50)
@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 20), max_size=4),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(1, 40), min_size=1),
)
def test_requests_come_out_as_they_went_in_however_they_are_cut(bodies, sizes, chunked, cuts):
    sent = b"".join(
        CHUNKED + chunks(body, sizes) if chunked else HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for body in bodies
    )
    reading, received, start = reader(), [], 0
    for number in range(len(sent)):
        if start >= len(sent):
            break
        size = cuts[number % len(cuts)]
        reading.feed(sent[start : start + size])
        start += size
        while (request := reading.next_request()) is not None:
            received.append(request.body.read())
    assert received == bodies
    assert reading.size == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nnot a header\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"a" * 70_000, 414),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1001\r\n\r\n", 413),  # before any of it is sent
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: foo\r\n\r\n", 501),
        (HEAD + b"Expect: wonders\r\n\r\n", 417),
        (CHUNKED + b"1\r\na\r\n" * 20_000, 413),
    ],
    ids=lambda value: value[-20:].hex() if isinstance(value, bytes) else str(value),
)
def test_what_is_no_request_is_refused_before_it_is_waited_for(sent, status):
    reading = reader()
    reading.feed(sent)
    with pytest.raises(Unacceptable) as refused:
        reading.next_request()
    assert refused.value.status == status
    assert refused.value.detail


@pytest.mark.parametrize(
    "sent", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-3\r\nabc\r\n", b"\r\n\r\n"]
)
def test_a_malformed_chunk_is_handed_on_for_the_parser_to_refuse(sent):
    reading = reader()
    reading.feed(CHUNKED + sent)
    request = reading.next_request()
    with pytest.raises(Exception, match=r"(?i)chunk"):
        request.body.read(MOST)
    assert request.body.failed


def test_whoever_waits_before_sending_the_body_is_told_to_go_on_once():
    reading = reader()
    reading.feed(HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert reading.next_request() is None
    assert reading.continue_line() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert reading.continue_line() == b""
    reading.feed(b"ab")
    assert reading.next_request().body.read() == b"ab"
