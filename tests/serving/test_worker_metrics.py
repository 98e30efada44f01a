"""What workers counted outlives them, in one file, and their own files go."""

from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from serving.worker_metrics import fold_ended_worker

ANSWERS = ("value_model_answers", "value_model_answers_total", ["status"])


def write(path, values):
    file = MmapedDict(str(path))
    for status, value in values.items():
        file.write_value(mmap_key(*ANSWERS, [status], "HTTP answers"), value, 0.0)
    file.close()


def test_the_counts_of_ended_workers_stay_and_their_files_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for pid in (11, 12, 13):
        write(tmp_path / f"counter_{pid}.db", {"200": 3.0, str(pid): 1.0})
        write(tmp_path / f"gauge_mostrecent_{pid}.db", {"200": 1.0})
    fold_ended_worker(11)
    fold_ended_worker(12)
    left = {"counter_13.db", "gauge_mostrecent_13.db", "counter_ended.db", "lock"}
    assert {file.name for file in tmp_path.iterdir()} == left
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone)
    sums = {status: everyone.get_sample_value(ANSWERS[1], {"status": status}) for status in ("200", "11", "12", "13")}
    assert sums == {"200": 9.0, "11": 1.0, "12": 1.0, "13": 1.0}
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    fold_ended_worker(13)
    assert (tmp_path / "counter_13.db").exists()
