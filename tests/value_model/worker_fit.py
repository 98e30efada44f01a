"""What each of the processes in test_workers.py runs: a fit of one batch an epoch."""

import json
import sys
from pathlib import Path

import numpy as np

from value_model.rankers.config import NetworkConfig, TrainingConfig

SHAPE = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(16, 8), tower_units=8, dropout=0.0)
TRAINING = TrainingConfig(epochs=6, batch_requests=240, learning_rate=5e-3, loss_weights="uncertainty")


def losses(data, **options):
    """Held-out losses by epoch."""
    from ranking_market import CLICKS, SIZES, SPEC, market

    from marketplace.heads import learned_heads
    from value_model.rankers.network_ranker import NetworkRanker
    from value_model.rankers.training import fit

    rng = np.random.default_rng(0)
    network = NetworkRanker(SPEC, SIZES, config=SHAPE, heads=learned_heads(CLICKS), rng=rng)
    later = market(np.random.default_rng(2), requests=200).data
    return fit(network, data, later, config=TRAINING, rng=rng, progress=False, **options).held_out


def work(folder):
    from value_model.rankers.workers import Workers

    workers = Workers()
    from ranking_market import CLICKS

    from value_model.rankers.row_files import RowFiles

    learned = losses(RowFiles.of(sorted(folder.glob("*.parquet")), labels=CLICKS), workers=workers)
    (folder / f"losses-{workers.number}.json").write_text(json.dumps(learned))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
