"""Read-your-writes: feedback that one process acknowledged is in the features of the next answer, whoever gives it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from datetime import datetime, timedelta
from itertools import count

import numpy as np
import pyarrow as pa
import pytest

from features.store import SharedStore
from jobs.serve import running
from marketplace.schema import FEEDBACK, conform
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, redis_store
from serving.request import Request
from serving.shared_following import OtherLog

DATABASES = count(1)


@pytest.fixture(params=["memory", "redis"])
def features(request) -> str | None:
    """The address of an empty Redis database of the test's own; None = memories in each process."""
    if request.param == "memory":
        return None
    return f"{request.getfixturevalue('redis_url').removesuffix('/0')}/{next(DATABASES)}"


def engine_of(bundle, path, features):
    log = SqliteLog(path)
    store = None if features is None else redis_store(bundle, features, log=log)
    return build_engine(bundle, log=log, store=store)


def click(number, *, user, item, time):
    row = {"feedback_id": f"f{number}", "event": "click", "time": time, "user_id": user, "item_id": item}
    return conform(pa.Table.from_pylist([row]), FEEDBACK, where="test")


def clicks_of(engine, *, number, user, item, time):
    request = Request(f"r{number}", time, "home", user, k=1, candidates=(item,))
    return engine.rank(request).slate.numeric["pair_clicks"].tolist()


def test_what_one_worker_acknowledged_the_other_knows_at_once(bundle, tmp_path, features):
    """Turn by turn, without the half second that what was shown may be late."""
    workers = [engine_of(bundle, tmp_path / "log.sqlite", features) for _ in range(2)]
    item = bundle.catalogue.items["item_id"][9].as_py()
    assert all(isinstance(worker.store, SharedStore) == (features is not None) for worker in workers)
    for number in range(6):
        time_ = workers[0].parts.known_until + timedelta(minutes=number)
        asking = {"number": number, "user": "newcomer", "item": item}
        workers[number % 2].record(click(number, user="newcomer", item=item, time=time_))
        assert clicks_of(workers[1 - number % 2], time=time_ + timedelta(seconds=1), **asking) == [number + 1.0]
    later = Request("last", workers[0].parts.known_until + timedelta(days=1), "home", "newcomer")
    for worker in workers:
        worker.close()
    rows = np.arange(12, dtype=np.int32)
    ours, theirs = (worker.store.lookup(later, rows).state.statistics for worker in workers)
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, rtol=1e-9, err_msg=name)


def test_a_shared_store_of_another_log_is_refused(bundle, tmp_path, redis_url):
    features = f"{redis_url.removesuffix('/0')}/{next(DATABASES)}"
    engine = engine_of(bundle, tmp_path / "log.sqlite", features)
    item, time_ = bundle.catalogue.items["item_id"][9].as_py(), engine.parts.known_until
    engine.record(click(0, user="u", item=item, time=time_))
    with pytest.raises(OtherLog, match="every service of a store must have the same log"):
        engine_of(bundle, tmp_path / "other.sqlite", features)


@pytest.mark.slow
def test_no_answer_of_two_workers_under_load_lacks_what_was_acknowledged(bundle_folder, bundle, tmp_path, features):
    """Four shoppers at once, each of whom clicks and asks again, over two gunicorn workers."""
    items = bundle.catalogue.items["item_id"].to_pylist()[:4]
    failures, until = [], datetime.fromisoformat(str(bundle.manifest.facts["known_until"]))
    (tmp_path / "bundle").symlink_to(bundle_folder)

    def shopper(url: str, name: str, item: str) -> None:
        for number in range(1, 26):
            time_ = (until + timedelta(seconds=number)).isoformat()
            event = {"feedback_id": f"{name}{number}", "event": "click", "user_id": name, "item_id": item}
            try:
                assert sent(f"{url}/v1/feedback", {"events": [event | {"time": time_}]})["accepted"] == 1
                asking = {"surface": "home", "user_id": name, "request_id": f"{name}-{number}", "candidates": [item]}
                later = (until + timedelta(seconds=number, milliseconds=500)).isoformat()
                asked[sent(f"{url}/v1/rank", asking | {"time": later})["request_id"]] = number
            except Exception as error:
                failures.append(error)

    asked: dict[str, int] = {}
    with running(tmp_path, log=tmp_path / "log.sqlite", workers=2, features=features) as url:
        threads = [threading.Thread(target=shopper, args=(url, f"shopper{i}", item)) for i, item in enumerate(items)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    with closing(SqliteLog(tmp_path / "log.sqlite")) as log:
        known = {name: log.slate(name).numeric["pair_clicks"].tolist() for name in asked}
    assert known == {name: [float(number)] for name, number in asked.items()}
    assert len(known) == 100


def sent(url, content):
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(error.read()) from error
            time.sleep(0.2)
    raise AssertionError("refused twenty times")
