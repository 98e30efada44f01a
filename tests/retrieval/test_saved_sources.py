import numpy as np
import pytest

from retrieval.candidates import Query
from retrieval.retriever import Quota
from retrieval.saved_sources import UnknownSource, load_retriever, save_retriever, saved_names
from retrieval.sources.covisits import CoVisits
from retrieval.sources.popularity import Popularity
from retrieval.sources.recent import Recent
from retrieval.surfaces import SurfaceRecipes

N = 5


def test_sources_quotas_and_order_come_back_from_their_files(tmp_path):
    sources = [CoVisits(N), Popularity(N), Popularity(N, name="shown"), Recent(N)]
    names = tuple(source.name for source in sources)
    recipes = SurfaceRecipes.alike({name: Quota(3) for name in names})
    save_retriever(sources, blends={}, folder=tmp_path / "retriever")
    assert saved_names(tmp_path / "retriever") == names
    loaded = load_retriever(tmp_path / "retriever", recipes, index=None, n_items=N)
    history = np.array([3, 1], np.int32)
    candidates = loaded.retrieve(Query("u", "s", history, allowed=np.ones(N, bool)), k=N)
    assert set(history) <= set(candidates.items.tolist())  # the recent ones: nothing else was learned


def test_a_source_without_a_row_is_refused(tmp_path):
    class Stray:
        name = "stray"

        def propose(self, query, *, k):
            return np.empty(0, np.int32), np.empty(0, np.float32)

    with pytest.raises(UnknownSource, match="'stray' cannot be bundled: give its class a row"):
        save_retriever([Stray()], blends={}, folder=tmp_path / "retriever")
