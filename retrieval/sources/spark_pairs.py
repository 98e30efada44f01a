"""Co-visits on Spark: visits are shared out among tasks, and what each counts is added up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from scipy import sparse

from marketplace.dataset import Dataset, load_dataset
from marketplace.spark.shards import in_shards, shard_of
from retrieval.sources.covisits import visit_pairs
from retrieval.sources.inputs import SourceInputs, visits


@dataclass(frozen=True)
class SparkPairs:
    """A `PairsOf` of the data set that `Dataset.save` wrote to `folder`, which all machines see, on a `master`."""

    folder: Path
    master: str

    def __call__(self, since: int | None, until: int, *, half_life_days: float) -> sparse.csr_matrix:
        with TemporaryDirectory(prefix=".covisits", dir=self.folder) as name:
            work = Path(name).resolve()
            task = partial(
                _counted,
                folder=self.folder.resolve(),
                work=work,
                since=since,
                until=until,
                half_life_days=half_life_days,
            )
            shards = in_shards(self.master, task, name="covisits")
            return sum(sparse.load_npz(work / f"{one}.npz") for one in range(shards))


def _counted(
    shard: int, shards: int, *, folder: Path, work: Path, since: int | None, until: int, half_life_days: float
) -> None:
    """Write the pairs of a shard's visits."""
    dataset = _dataset(folder)
    events = visits(SourceInputs(dataset, dataset.segment), since, until)
    mine = events.select(shard_of(events.session, shards) == shard)
    pairs = visit_pairs(mine, n_items=len(dataset.items), half_life_days=half_life_days)
    sparse.save_npz(work / f"{shard}.npz", pairs)


@lru_cache(maxsize=1)
def _dataset(folder: Path) -> Dataset:
    """One a process."""
    return load_dataset(folder)
