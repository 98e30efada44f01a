"""Two processes take the steps that one takes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import worker_fit
from ranking_market import market

from jobs.run_folder import RunFolderError
from jobs.worker_processes import run_workers
from marketplace.schema import TIME
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.row_files import rows_table

pytestmark = pytest.mark.slow
COMMAND = (sys.executable, str(Path(worker_fit.__file__)))


@pytest.fixture(autouse=True)
def paths(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), *sys.path]))


def test_two_workers_with_unequal_parts_learn_what_one_process_learns(tmp_path):
    data = market(np.random.default_rng(1), requests=180).data
    offsets = request_offsets(data.inputs.request, 180)
    for name, part in (("1", np.arange(120)), ("2", np.arange(120, 180))):
        names = pa.array([name] * len(part))
        about = {"request_id": names, "time": pa.array(part, TIME), "surface": names, "user_id": names}
        pq.write_table(rows_table(take(data, part, offsets=offsets), pa.table(about)), tmp_path / f"{name}.parquet")
    run_workers([*COMMAND, str(tmp_path)], 2)
    expected = worker_fit.losses(data)
    for number in range(2):
        learned = json.loads((tmp_path / f"losses-{number}.json").read_text())
        assert len(learned) == len(expected)
        for epoch, of_epoch in enumerate(expected):
            for head, loss in of_epoch.items():
                assert learned[epoch][head] == pytest.approx(loss, abs=1e-4), (epoch, head)


def test_where_a_worker_fails_the_others_are_ended():
    script = "import os, json, time; time.sleep(60 * (1 - json.loads(os.environ['TF_CONFIG'])['task']['index'])); 1 / 0"
    with pytest.raises(RunFolderError, match=r"of 2 workers failed: 1 \(exit 1\)"):
        run_workers([sys.executable, "-c", script], 2)
