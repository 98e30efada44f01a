"""Request reader: the bytes of one connection, cut into whole requests before anything waits for them.

gunicorn's parser does the reading, of exactly the bytes of one request: it finds the whole of it or refuses it, and
never waits for a client. Only where a request ends is decided here: after its header, its Content-Length or its last
chunk.
"""

from __future__ import annotations

import re
from typing import Any

from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

END_OF_HEADER = re.compile(rb"\r\n\r\n|\n\n")  # the latter is refused
LONGEST_HEADER = 64 << 10  # bytes
OVERHEAD = 2  # bytes on the wire for each of a chunked body, at most
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.UnsupportedTransferCoding, 501),
    (errors.ExpectationFailed, 417),
)


class Unacceptable(Exception):
    """A request that is refused before any route sees it; nothing more is read from its connection."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class RequestReader:
    """`settings` are gunicorn's; a body may have `most` bytes."""

    def __init__(self, settings: Any, peer: Any, *, most: int) -> None:
        self._settings, self._peer, self._most = settings, peer, most
        self._bytes = bytearray()
        self._request: Request | None = None
        self._pieces = _Pieces()
        self._header = self._place = 0  # where the header ends, and the chunks that were looked at

    @property
    def size(self) -> int:
        """Bytes of requests that are not whole, or not taken yet."""
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next_request(self) -> Request | None:
        """The next whole request, with all of its body; None = more bytes are needed. Raises Unacceptable."""
        if self._request is None:
            end = END_OF_HEADER.search(self._bytes)
            if end is None and len(self._bytes) <= LONGEST_HEADER:
                return None
            self._header = len(self._bytes) if end is None else end.end()
            self._request = self._parsed()
            self._place = self._header
        end_of_body = self._end_of_body(self._request)
        if end_of_body is None:
            return None
        self._pieces.body = bytes(self._bytes[self._header : end_of_body])
        del self._bytes[:end_of_body]
        request = self._request
        request._expected_100_continue = False  # it did not wait
        self._request, self._pieces = None, _Pieces()
        return request

    def continue_line(self) -> bytes:
        """What a client waits for before it sends the body; empty = for nothing. Once a request."""
        if self._request is None or not self._request._expected_100_continue:
            return b""
        self._request._expected_100_continue = False
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def _parsed(self) -> Request:
        self._pieces.header = bytes(self._bytes[: self._header])
        try:
            return Request(self._settings, self._pieces, self._peer)
        except (errors.ParseException, OSError, StopIteration, ValueError) as error:
            status = next((status for kind, status in STATUSES if isinstance(error, kind)), 400)
            raise Unacceptable(status, str(error) or "the request cannot be read") from error

    def _end_of_body(self, request: Request) -> int | None:
        """Where the body ends; None = its end is not there yet."""
        reader = request.body.reader
        if isinstance(reader, ChunkedReader):
            return self._end_of_chunks()
        end = self._header + (reader.length if isinstance(reader, LengthReader) else 0)
        if end - self._header > self._most:
            raise self._too_large()
        return None if len(self._bytes) < end else end

    def _end_of_chunks(self) -> int | None:
        """The same of a chunked body; all that is there, for the parser to refuse, where a chunk is malformed."""
        if len(self._bytes) - self._header > OVERHEAD * self._most + LONGEST_HEADER:
            raise self._too_large()
        while (end := self._bytes.find(b"\r\n", self._place)) >= 0:
            size = CHUNK_SIZE.fullmatch(self._bytes, self._place, end)
            if size is None:
                return len(self._bytes)
            if int(size[1], 16) == 0:
                trailer = self._bytes.find(b"\r\n\r\n", end)
                return None if trailer < 0 else trailer + 4
            after = end + 2 + int(size[1], 16)
            if len(self._bytes) < after + 2:
                return None
            if self._bytes[after : after + 2] != b"\r\n":
                return len(self._bytes)
            self._place = after + 2
        return len(self._bytes) if len(self._bytes) - self._place > LONGEST_HEADER else None

    def _too_large(self) -> Unacceptable:
        return Unacceptable(413, f"the body is larger than {self._most} bytes; send less at a time")


class _Pieces(Unreader):
    """The parser's source: the header, later the body, then the end."""

    def __init__(self) -> None:
        super().__init__()
        self.header = self.body = b""

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.header:
            piece, self.header = self.header, b""
        else:
            piece, self.body = self.body, b""
        return piece
