"""What would ranking over gRPC save a caller, beside HTTP and JSON?

A run of the demo market ranks 500 candidates of the caller and shows 50. The service answers POST /v1/rank over HTTP;
beside it stands a spike, a gRPC server of the same engine with protobuf messages of the same content, and nothing of
what else the service does: no keys, no queue, no metrics. Calls alternate, one client, kept connections; a round trip
holds the client's coding too. Coding is measured by itself, in one process and in its CPU time: what a worker does
between the bytes and the engine's request, and between the slate and the bytes; of gRPC the same checks are made.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.record import Measure, record, skip
from jobs.serve import free_port, running
from marketplace.memory_log import MemoryLog
from marketplace.sqlite_log import SqliteLog
from serving.answers import slate_answer
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.engine import RankingEngine
from serving.payloads import RankRequest
from serving.service import Ranking

RUN, NAME, SEED = Path("runs/demo-simulated"), "ranking_wire", 3
CANDIDATES, SHOWN = 500, 50
WARM, CALLS = 50, 400
PAYS = 0.1  # of a round trip
TEXT, WHOLE, NUMBER = 9, 5, 1  # types of a protobuf field
MESSAGES: dict[str, dict[str, int | str]] = {
    "Call": {"surface": TEXT, "user_id": TEXT, "request_id": TEXT, "time": TEXT, "k": WHOLE, "candidates": "TEXT"},
    "Head": {"name": TEXT, "value": NUMBER},
    "Item": {
        **dict.fromkeys(("item_id", "merchant_id", "source"), TEXT),
        **dict.fromkeys(("price", "value", "merchant_value", "retrieval_score", "propensity"), NUMBER),
        "position": WHOLE,
        "predictions": "Head",
    },
    "Version": {"name": TEXT, "value": TEXT},
    "Slate": {
        **dict.fromkeys(("request_id", "time", "surface", "currency"), TEXT),
        "considered": WHOLE,
        "versions": "Version",
        "items": "Item",
    },
}
PATHS = {"rank": "/spike.Ranking/Rank", "empty": "/spike.Ranking/Empty"}


def main() -> None:
    if not (RUN / "bundle").exists():
        skip(NAME, f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        shutil.copytree(RUN, folder, symlinks=True, ignore=shutil.ignore_patterns("log.sqlite*", "demo"))
        bundle = load_bundle(folder / "bundle")
        measures = coding(bundle) + round_trips(folder, bundle)
    values = {measure.name: measure.value for measure in measures}
    coded, empty = values["JSON, a worker's coding, cpu, p50"], values["HTTP, an empty call, p50"]
    spared = coded - values["protobuf, a worker's coding, cpu, p50"] + empty - values["gRPC, an empty call, p50"]
    most = coded + empty
    measures += [
        Measure("gRPC spares of a round trip over HTTP", spared / values["HTTP, p50"], "", f">= {PAYS}"),
        Measure("coding and transport for nothing would spare", most / values["HTTP, p50"], ""),
    ]
    record(NAME, measures, data=f"the demo market, {CANDIDATES} candidates, {SHOWN} shown", seed=SEED)


def bodies(bundle: ModelBundle, start: datetime, *, prefix: str, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    users, items = bundle.catalogue.users["user_id"].to_pylist(), bundle.catalogue.items["item_id"].to_pylist()
    return [
        {
            "surface": "home",
            "user_id": users[rng.integers(len(users))],
            "request_id": f"{prefix} {number}",
            "time": (start + timedelta(milliseconds=number)).isoformat(),
            "k": SHOWN,
            "candidates": [items[row] for row in rng.choice(len(items), CANDIDATES, replace=False)],
        }
        for number in range(count)
    ]


def coding(bundle: ModelBundle) -> list[Measure]:
    """Milliseconds of CPU a call between bytes and engine, and the bytes."""
    engine, seconds = build_engine(bundle, log=MemoryLog()), dict[str, list[float]]()
    start = engine.parts.known_until
    for number, body in enumerate(bodies(bundle, start, prefix="coded", count=CALLS)):
        sent = {"JSON": orjson.dumps(body), "protobuf": call_message(body).SerializeToString()}
        ranking, ranked = timed(partial(ranking_of, READ["JSON"](sent["JSON"]), engine, start), clock=time.process_time)
        row, sizes = {"engine": ranked}, {}
        for name, content in sent.items():
            _, before = timed(partial(READ[name], content), clock=time.process_time)
            answer, after = timed(partial(WRITE[name], ranking), clock=time.process_time)
            row[name], sizes[name] = before + after, len(content) + len(answer)
        if number >= WARM:
            for name, value in row.items():
                seconds.setdefault(name, []).append(value)
    return [
        *(Measure(f"{name}, a worker's coding, cpu, p50", milliseconds(seconds[name]), "ms") for name in sizes),
        Measure("engine, without a log on disk, cpu, p50", milliseconds(seconds["engine"]), "ms"),
        *(Measure(f"{name}, request and answer", float(size), "bytes") for name, size in sizes.items()),
    ]


def round_trips(folder: Path, bundle: ModelBundle) -> list[Measure]:
    port, place = free_port(), folder / "spike.sqlite"
    command = [sys.executable, "-m", f"benchmarks.{NAME}", str(folder / "bundle"), str(port), str(place)]
    spike = subprocess.Popen(command)
    try:
        with running(folder, log=folder / "log.sqlite") as address, grpc.insecure_channel(f"127.0.0.1:{port}") as wire:
            grpc.channel_ready_future(wire).result(timeout=120)
            return alternated(urlsplit(address).netloc, wire, bundle)
    finally:
        spike.terminate()
        spike.wait(timeout=60)


def alternated(netloc: str, wire: grpc.Channel, bundle: ModelBundle) -> list[Measure]:
    connection = http.client.HTTPConnection(netloc)
    rank = wire.unary_unary(PATHS["rank"])
    empty = wire.unary_unary(PATHS["empty"])
    engine = build_engine(bundle, log=MemoryLog())
    calls: dict[str, list[float]] = {}
    for number, body in enumerate(bodies(bundle, engine.parts.known_until, prefix="sent", count=CALLS)):
        row = {
            "HTTP": lambda body=body: posted(connection, body),
            "gRPC": lambda body=body: _types["Slate"].FromString(rank(call_message(body).SerializeToString())),
            "HTTP, an empty call": lambda: got(connection, "/healthz"),
            "gRPC, an empty call": lambda: empty(b""),
        }
        seconds = {name: timed(call) for name, call in row.items()}
        shown = [len(seconds["HTTP"][0]["items"]), len(seconds["gRPC"][0].items)]
        assert shown == [SHOWN, SHOWN], shown
        if number >= WARM:
            for name, (_, value) in seconds.items():
                calls.setdefault(name, []).append(value)
    return [
        Measure(f"{name}, p{share}", milliseconds(values, share), "ms")
        for name, values in calls.items()
        for share in (50, 99)
    ]


def posted(connection: http.client.HTTPConnection, body: dict[str, Any]) -> Any:
    connection.request("POST", "/v1/rank", orjson.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = orjson.loads(answer.read())
    assert answer.status == 200, content
    return content


def got(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def serve(folder: Path, port: int, log: Path) -> None:
    """The spike, until a signal."""
    engine = build_engine(load_bundle(folder), log=SqliteLog(log))

    def rank(call: bytes, _: grpc.ServicerContext) -> bytes:
        return slate_message(ranking_of(checked(call), engine, engine.parts.known_until))

    handlers = {"Rank": rank, "Empty": lambda call, _: call}
    methods = {name: grpc.unary_unary_rpc_method_handler(one) for name, one in handlers.items()}
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("spike.Ranking", methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def checked(call: bytes) -> RankRequest:
    """The payload of a message, with the checks that JSON gets."""
    message = _types["Call"].FromString(call)
    words = {name: getattr(message, name) for name in ("surface", "user_id", "request_id", "k")}
    moment = datetime.fromisoformat(message.time)
    return RankRequest.model_validate(words | {"time": moment, "candidates": list(message.candidates)})


def ranking_of(payload: RankRequest, engine: RankingEngine, now: datetime) -> Ranking:
    return engine.rank(payload.to_request(request_id="", now=now, spec=engine.parts.encoder.spec))


def call_message(body: dict[str, Any]) -> Any:
    return _types["Call"](**body)


def slate_message(ranking: Ranking) -> bytes:
    """The same content as JSON has."""
    answer = slate_answer(ranking, contributions=None)
    message = _types["Slate"](
        **{name: answer[name] for name in ("request_id", "surface", "currency", "considered")},
        time=answer["time"].isoformat(),
        versions=[{"name": name, "value": value} for name, value in answer["versions"].items()],
    )
    for item in answer["items"]:
        heads = [{"name": name, "value": value} for name, value in item.pop("predictions").items()]
        message.items.add(**{name: value for name, value in item.items() if value is not None}, predictions=heads)
    return message.SerializeToString()


def slate_json(ranking: Ranking) -> bytes:
    answer = slate_answer(ranking, contributions=None)
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z)


READ = {"JSON": RankRequest.model_validate_json, "protobuf": checked}
WRITE = {"JSON": slate_json, "protobuf": slate_message}


def timed(call: Callable[[], Any], *, clock: Callable[[], float] = time.perf_counter) -> tuple[Any, float]:
    start = clock()
    answer = call()
    return answer, clock() - start


def milliseconds(values: list[float], share: int = 50) -> float:
    return 1e3 * float(np.percentile(values, share))


def _message_types() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="spike.proto", package="spike", syntax="proto3")
    for name, fields in MESSAGES.items():
        described = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            one = described.field.add(name=field, number=number, label=3 if isinstance(kind, str) else 1)
            if isinstance(kind, int):
                one.type = kind
            elif kind == "TEXT":
                one.type = TEXT
            else:
                one.type, one.type_name = 11, f".spike.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"spike.{name}")) for name in MESSAGES}


_types = _message_types()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
