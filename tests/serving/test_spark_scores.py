"""Lists of every shopper, made on two workers of a standalone cluster, are those that the service would answer."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine, load_bundle

pytest.importorskip("pyspark", reason="pyspark is not installed (pip install value-model[spark])")

from benchmarks.spark_cluster import spark_cluster
from jobs.spark.score_users import score_users


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jre-headless)")
def test_every_shopper_is_scored_as_the_service_would_on_two_workers(bundle_folder, tmp_path):
    out = tmp_path / "lists"
    with spark_cluster(tmp_path, workers=2, memory="1g") as master:
        words = ["spark", "score", str(bundle_folder), "--to", str(out), "-k", "5", "--master", master]
        answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    with pytest.raises(ValueError, match="is there already: name a new folder"):
        score_users(bundle_folder, out=out, k=5, at=None, log=None, days=None, master=None)
    lists, about = pq.read_table(out).to_pylist(), json.loads((out / "_scored.json").read_text())
    bundle = load_bundle(bundle_folder)
    users = bundle.catalogue.users["user_id"].to_pylist()
    assert {row["user_id"] for row in lists} == set(users)
    assert f"{len(lists):,} rows" in answer.output
    for user in users[:: len(users) // 5]:
        service = create_app(build_engine(bundle, log=MemoryLog())).test_client()  # which has answered nobody else
        ours = [row for row in lists if row["user_id"] == user]
        question = {"surface": "home", "user_id": user, "k": 5, "time": about["time"]}
        question |= {"request_id": ours[0]["request_id"]}
        theirs = service.post("/v1/recommend", json=question).get_json()["items"]
        assert [row["item_id"] for row in ours] == [item["item_id"] for item in theirs]
        for row, item in zip(ours, theirs, strict=True):
            assert dict(row["predictions"]) == pytest.approx(item["predictions"], abs=1e-6)
            assert row["value"] == pytest.approx(item["value"], abs=1e-6)
            assert row["position"] == item["position"]
