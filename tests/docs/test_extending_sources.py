"""The example source of docs/extending.md is built from its file and its row, trained, saved, loaded and queried."""

from dataclasses import replace
from importlib import import_module

import numpy as np
from recipes import blocks

from features.catalogue import Catalogue
from marketplace.simulator import SimulatorConfig, simulate
from retrieval import saved_sources
from retrieval.blend import fit_blend
from retrieval.candidates import Query
from retrieval.retriever import Quota
from retrieval.sources import rows, run_sources
from retrieval.surfaces import SurfaceRecipes


def test_a_file_and_a_row_make_a_source(monkeypatch, tmp_path):
    file, row = blocks("A candidate source")
    imports = (
        "from bargains import Bargains\n"
        "from retrieval.sources.inputs import categories\n"
        "from retrieval.sources.rows import SourceRow, interest_recorded\n"
    )
    (tmp_path / "bargains.py").write_text(file)
    (tmp_path / "bargains_row.py").write_text(f"{imports}\nROW = {row}")
    monkeypatch.syspath_prepend(tmp_path)
    extended = (*rows.SOURCES, import_module("bargains_row").ROW)
    for module in (run_sources, saved_sources):
        monkeypatch.setattr(module, "SOURCES", extended)
    small = replace(SimulatorConfig.small(), requests=300, users=80, items=200, merchants=20)
    dataset = simulate(small, np.random.default_rng(5)).dataset
    learned = run_sources.RunSources(dataset, segment="user_segment", index=None).advance(2**62)
    assert learned.sources[-1].name == "bargains"

    query = Query("u", "s", np.array([3, 1], np.int32))
    recipes = SurfaceRecipes.alike({name: Quota(300) for name in learned.names})
    pool = learned.retriever(recipes, blends={})["home"].pool(query)
    blend = fit_blend([pool], [learned.sources[-1].propose(query, k=10)[0]])
    assert blend.weights[-1] > 0  # the items that it proposes first were the positives

    folder = tmp_path / "retriever"
    blends = {"home": dict(zip(learned.retriever(recipes, blends={})["home"].scoring, blend.weights, strict=True))}
    saved_sources.save_retriever(learned.sources, blends=blends, folder=folder)
    words = Catalogue.of(dataset).lexical_index
    loaded = saved_sources.load_retriever(folder, recipes, index=None, lexical_index=words, n_items=200)
    served = loaded.retrieve(query, k=20)
    live = learned.retriever(recipes, blends=blends).retrieve(query, k=20)
    np.testing.assert_array_equal(served.items, live.items)
    assert "bargains" in {served.sources[number] for number in served.source}
