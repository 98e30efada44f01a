import numpy as np

from retrieval.affinity import Affinity
from retrieval.covisits import CoVisits
from retrieval.popularity import Popularity
from retrieval.recent import Recent
from retrieval.repeat_purchase import RepeatPurchase
from retrieval.retriever import Quota
from retrieval.saved_sources import LEARNED, kind_of, load_retriever, save_retriever
from retrieval.similar_segments import SimilarSegments
from retrieval.source import Query
from retrieval.user_history import UserHistory

N = 5


def test_every_kind_of_source_comes_back_from_its_files(tmp_path):
    learned = [
        CoVisits(N),
        Popularity(N),
        RepeatPurchase(N),
        SimilarSegments(N),
        UserHistory(N),
        Affinity(np.zeros(N, np.int32)),
    ]
    assert {kind_of(source) for source in learned} == set(LEARNED)
    sources = [*learned, Recent(N)]
    quotas = {source.name: Quota(3) for source in sources}
    save_retriever(sources, quotas, blend=None, folder=tmp_path / "retriever")
    loaded = load_retriever(tmp_path / "retriever", index=None, n_items=N)
    assert loaded.names == tuple(source.name for source in sources)
    history = np.array([3, 1], np.int32)
    found = loaded.retrieve(Query("u", "s", history, allowed=np.ones(N, bool)), k=N)
    assert set(history) <= set(found.items.tolist())  # the recent ones: nothing else was learned
