"""Slot worker: a gunicorn worker that no client can hold. One thread reads and writes, another answers, one at a time.

    read (never waiting) -> whole request -> admission queue -> the slot: the application -> write (never waiting)

The first thread answers /healthz itself, refuses what the queue does not admit, takes out whose client has gone, and
closes connections that are idle, slow to send or slow to take. The slot's thread sends an answer itself where the
socket takes it at once. What people change (BESIDE) takes seconds, and has a queue and a thread of its own: no shopper
waits for it. Of gunicorn's settings count: worker_connections, keepalive, max_requests, graceful_timeout,
and timeout, after which an answer that is still being made ends the worker.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.base import Worker

from serving.admission_queue import LONGEST, STANDING, AdmissionQueue
from serving.connection import Connection, Exchange, refusal
from serving.console.pages import DESK_PATHS
from serving.deadline import ENVIRON
from serving.payloads import MAX_BODY_BYTES
from serving.problems import GONE
from serving.request_reader import RequestReader, Unacceptable

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
AT_ONCE = frozenset({"/healthz"})  # answered by the reading thread
FIRST = frozenset({"/readyz", "/metrics"})  # answered before all that waits
# Beginnings of paths answered beside the slot: they touch no engine, or wait for the desk's process.
BESIDE = ("/v1/policy", "/v1/bundles", *DESK_PATHS)
PATIENCE = 10.0  # seconds that one of them may wait for another
SWITCH = 0.001  # seconds that the slot's thread may keep the other waiting for the interpreter
TICK, BUSY_TICK = 0.5, 0.02  # seconds between two looks at the time, without and with requests that wait
SEND_WITHIN, TAKE_WITHIN = 10.0, 30.0  # seconds that a client may take to send a request, to take an answer
LINGER = 2.0  # seconds in which what follows a refused request is still read
MOST_BUFFERED = 64 << 20  # bytes of requests that are not whole yet
AHEAD = 64 << 10  # bytes that a client may send of its next requests
WAITED = 0.002  # seconds after which a caller does better to connect anew, where another worker may be idle


class SlotWorker(Worker):  # type: ignore[misc]
    """The application's `extensions["account"]` counts what no route answers, and gives the headers of its ids.

    Its `extensions["queue_seconds"]`: how long a request may wait; `extensions["can_wait"]`: whether one may at all, by
    its headers.
    """

    def init_process(self) -> None:
        self.connections: dict[socket.socket, Connection] = {}
        self.answered: deque[Connection] = deque()  # their answers are made
        self.poller = selectors.DefaultSelector()
        self.looked = 0.0
        super().init_process()

    def run(self) -> None:
        sys.setswitchinterval(SWITCH)
        extensions = getattr(self.wsgi, "extensions", {})
        longest = extensions.get("queue_seconds", LONGEST)
        self.can_wait = extensions.get("can_wait", lambda headers: True)
        self.queue: AdmissionQueue[Exchange] = AdmissionQueue(longest=longest)
        self.beside: AdmissionQueue[Exchange] = AdmissionQueue(longest=PATIENCE, standing=PATIENCE)
        self.poller.register(self.PIPE[0], READ, self._woken)
        for listener in self.sockets:
            listener.setblocking(False)
            self.poller.register(listener, READ, partial(self._accept, listener))
        queues = {"slot": self.queue, "beside": self.beside}
        threads = [
            threading.Thread(target=self._answer_all, args=(queues[name],), name=name, daemon=True) for name in queues
        ]
        for thread in threads:
            thread.start()
        while self.alive and self.ppid == os.getppid():
            self._turn()
        self._drain()
        for queue, thread in zip(queues.values(), threads, strict=True):
            queue.close()
            thread.join(timeout=1.0)

    def _turn(self) -> None:
        """One look at all sockets and at the time."""
        if self.queue.running_for < self.cfg.timeout:
            self.notify()
        for key, events in self.poller.select(BUSY_TICK if len(self.queue) else TICK):
            key.data(events)
        for exchange in (*self.queue.overdue(), *self.beside.overdue()):
            self._refuse_busy(exchange)
        while self.answered:
            self._send(self.answered.popleft())
        if (now := time.monotonic()) - self.looked >= TICK:
            self.looked = now
            self._close_late(now)

    def _drain(self) -> None:
        """Answer what has begun; nothing new is read."""
        for listener in self.sockets:
            self.poller.unregister(listener)
            listener.close()
        until = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < until and self.connections:
            for connection in [one for one in self.connections.values() if not one.busy and not one.lingering]:
                self._close(connection)
            self._turn()

    def _woken(self, _: int) -> None:
        with suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)

    def _accept(self, listener: socket.socket, _: int) -> None:
        try:
            client, peer = listener.accept()
        except OSError:
            return  # another worker took it, it has gone, or there is no descriptor left
        if len(self.connections) >= self.cfg.worker_connections:
            idle = [one for one in self.connections.values() if not one.busy]
            if idle:
                self._close(min(idle, key=lambda one: one.since))
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = RequestReader(self.cfg, peer, most=MAX_BODY_BYTES)
        connection = Connection(client, peer, listener.getsockname(), reader)
        self.connections[client] = connection
        self.poller.register(client, READ, partial(self._ready, connection))

    def _ready(self, connection: Connection, events: int) -> None:
        if events & WRITE:
            self._send(connection)
            return
        data = connection.receive()
        if data == b"":
            self._client_gone(connection)
        elif data and not connection.lingering:
            if not connection.reader.size and not connection.busy:
                connection.since = time.monotonic()
            connection.reader.feed(data)
            if not connection.busy:
                self._advance(connection)
            elif connection.reader.size > AHEAD:
                connection.closing = True
                self._watch(connection, 0)

    def _advance(self, connection: Connection) -> None:
        """Take up the next whole request, where there is one."""
        try:
            exchange = connection.next_exchange()
        except Unacceptable as error:
            self._refuse(connection, error.status, error.detail)
            return
        if exchange is None:
            if line := connection.reader.continue_line():
                connection.write(line)
        elif exchange.route in AT_ONCE:
            self._answer(exchange)
            self.answered.append(connection)
        elif exchange.route in FIRST:
            self.queue.put_first(exchange)
        else:
            queue = self.beside if exchange.route.startswith(BESIDE) else self.queue
            patience = float("inf") if self.can_wait(exchange.headers) else STANDING
            if not queue.offer(exchange, within=min(patience, exchange.deadline.left())):
                self._refuse_busy(exchange)

    def _client_gone(self, connection: Connection) -> None:
        exchange = connection.exchange
        if exchange is None:
            self._close(connection)
        elif self.queue.withdraw(exchange) or self.beside.withdraw(exchange):
            self._count(exchange, GONE)
            self._close(connection)
        else:  # it is being answered: the socket is closed when the slot has done with it
            exchange.gone = True
            self._watch(connection, 0)

    def _refuse(self, connection: Connection, status: int, detail: str) -> None:
        """Answer what is no request, or none yet, and read no more of this connection."""
        ids = self._account({}, method="", path="", status=status, seconds=time.monotonic() - connection.since)
        connection.closing = True
        connection.write(refusal(status, detail, ids=ids, close=True))
        self.answered.append(connection)

    def _refuse_busy(self, exchange: Exchange) -> None:
        """503 at once; where there are other workers the caller may reach an idle one by connecting anew."""
        connection = exchange.connection
        closing = exchange.request.should_close() or exchange.request.method == "HEAD" or self.cfg.workers > 1
        connection.closing = connection.closing or closing
        ids = self._count(exchange, 503)
        connection.write(refusal(503, "the service is busy; try again", ids=ids, close=connection.closing))
        self.answered.append(connection)

    def _count(self, exchange: Exchange, status: int) -> Mapping[str, str]:
        seconds, method = time.monotonic() - exchange.arrived, str(exchange.request.method)
        return self._account(exchange.headers, method=method, path=exchange.route, status=status, seconds=seconds)

    def _account(self, headers: Mapping[str, str], **answer: Any) -> Mapping[str, str]:
        account = getattr(self.wsgi, "extensions", {}).get("account")
        return {} if account is None else account(headers, **answer)

    def _answer_all(self, queue: AdmissionQueue[Exchange]) -> None:
        """A thread that answers what waits in a queue."""
        while (exchange := queue.take()) is not None:
            if exchange.gone:
                self._count(exchange, GONE)
            else:
                self._answer(exchange)
            queue.finish()
            self.answered.append(exchange.connection)
            with suppress(BlockingIOError):
                os.write(self.PIPE[1], b".")

    def _answer(self, exchange: Exchange) -> None:
        """Let the application answer, and send what the socket takes."""
        connection, request = exchange.connection, exchange.request
        try:
            response, environ = wsgi.create(request, exchange, connection.peer, connection.server, self.cfg)
            environ |= {"wsgi.multithread": True, ENVIRON: exchange.deadline}
            waited = time.monotonic() - exchange.arrived > WAITED
            content = self.wsgi(environ, response.start_response)
            self.nr += 1
            if self.nr >= self.max_requests:
                self.alive = False
            if request.body.failed or connection.closing or not self.alive or (waited and self.cfg.workers > 1):
                response.force_close()
            for piece in content:
                response.write(piece)
            response.close()
            if hasattr(content, "close"):
                content.close()
            connection.closing = response.should_close()
        except Exception:
            self.log.exception("%s %s could not be answered", request.method, exchange.route)
            ids, connection.closing = self._count(exchange, 500), True
            exchange.output = bytearray(refusal(500, "the service failed; its log says why", ids=ids, close=True))
        if not exchange.gone:
            connection.write(exchange.output)

    def _send(self, connection: Connection) -> None:
        """Go on with an answer that is made, and with the connection when all of it is sent."""
        exchange = connection.exchange
        if connection.socket not in self.connections:
            return
        if exchange is not None and exchange.gone:
            self._close(connection)
        elif not connection.flush():
            if exchange is not None:
                connection.since, connection.exchange = time.monotonic(), None
            self._watch(connection, WRITE)
        elif connection.closing:
            self._linger(connection)
        else:
            connection.since, connection.exchange = time.monotonic(), None
            self._watch(connection, READ)
            self._advance(connection)

    def _linger(self, connection: Connection) -> None:
        """Close the sending side and read on for a while, lest a client that still sends misses its answer."""
        connection.exchange, connection.lingering, connection.since = None, True, time.monotonic()
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
        else:
            self._watch(connection, READ)

    def _close_late(self, now: float) -> None:
        """Close what is idle, slow to send or take, or was refused; and the largest where too much is half sent."""
        for connection in list(self.connections.values()):
            time_spent = now - connection.since
            if connection.exchange is not None:
                continue
            if connection.lingering or connection.outgoing:
                if time_spent > (LINGER if connection.lingering else TAKE_WITHIN):
                    self._close(connection)
            elif connection.reader.size:
                if time_spent > SEND_WITHIN:
                    self._refuse(connection, 408, f"the request was not sent within {SEND_WITHIN:g} seconds")
            elif time_spent > self.cfg.keepalive:
                self._close(connection)
        sending = sorted((one for one in self.connections.values() if not one.busy), key=lambda one: one.reader.size)
        while sending and sum(one.reader.size for one in sending) > MOST_BUFFERED:
            self._refuse(sending.pop(), 503, "too much is being sent at once; try again")

    def _watch(self, connection: Connection, events: int) -> None:
        """Be told of these events of the socket, 0 = of none."""
        watched = connection.socket in self.poller.get_map()
        ready = partial(self._ready, connection)
        if events and watched:
            self.poller.modify(connection.socket, events, ready)
        elif events:
            self.poller.register(connection.socket, events, ready)
        elif watched:
            self.poller.unregister(connection.socket)

    def _close(self, connection: Connection) -> None:
        self._watch(connection, 0)
        self.connections.pop(connection.socket, None)
        connection.socket.close()
