"""RecBole's SASRec, in an environment of its own: run.py FOLDER.

FOLDER has ta_feng/ta_feng.inter (user_id, item_id, timestamp: the place in the user's sequence) and settings.json of
benchmarks.sequence_peers. The last item of each user is the test, the one before is validation; of those before, each
is learned from what preceded it. answer.json gets, user by user in the order of their names, the DEPTH best items.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed
from recbole.utils.case_study import full_sort_topk

USERS = 500  # scored at once


def config_of(folder, settings):
    return Config(
        model="SASRec",
        dataset="ta_feng",
        config_dict={
            **settings["model"],
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": settings["length"],
            "seed": settings["seed"],
            "epochs": settings["epochs"],
            "stopping_step": settings["epochs"],
            "train_batch_size": settings["batch"],
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
            "metrics": ["Recall"],
            "topk": [settings["depth"]],
            "valid_metric": f"Recall@{settings['depth']}",
            "train_neg_sample_args": None,  # the softmax is over every item
            "use_gpu": False,
            "checkpoint_dir": str(folder),
            "show_progress": False,
            "log_wandb": False,
        },
    )


def main(folder):
    settings = json.loads((folder / "settings.json").read_text())
    config = config_of(folder, settings)
    init_seed(settings["seed"], reproducibility=True)
    torch.set_num_threads(1)
    train, valid, test = data_preparation(config, create_dataset(config))
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)
    trainer.fit(train, valid, saved=True, show_progress=False)
    model.load_state_dict(torch.load(trainer.saved_model_file)["state_dict"])
    model.eval()
    dataset = test.dataset
    names = sorted(dataset.field2id_token["user_id"][1:])
    users = dataset.token2id("user_id", np.array(names))
    tops = []
    for start in range(0, len(users), USERS):
        _, items = full_sort_topk(users[start : start + USERS], model, test, k=settings["depth"])
        tops += dataset.id2token("item_id", items.cpu().numpy()).astype(int).tolist()
    (folder / "answer.json").write_text(json.dumps(tops))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
