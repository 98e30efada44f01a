"""A bundle is exported whole or not at all, of parts that agree."""

from dataclasses import replace

import numpy as np
import pytest

from features.spec import FeatureSpec
from retrieval.pairs import item_inputs
from serving.export_bundle import export_bundle, refuse_other_item_tower
from serving.item_tower import OnnxItemTower
from serving.manifest import BundleError
from serving.parity import ExportRefused


def test_an_export_that_fails_leaves_nothing(trained, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr("serving.export_bundle.export_onnx", fail)
    with pytest.raises(RuntimeError, match="no room"):
        export_bundle(trained, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_towers_of_another_feature_spec_are_refused_at_export(trained, tmp_path):
    spec = FeatureSpec(trained.encoder.spec.features[:-1])
    odd = replace(trained, encoder=replace(trained.encoder, spec=spec))
    with pytest.raises(BundleError, match="feature spec of the towers"):
        export_bundle(odd, tmp_path / "b")


def test_the_item_tower_of_a_bundle_is_that_of_the_run_on_every_item_of_the_catalogue(trained, bundle_folder):
    exported = OnnxItemTower(bundle_folder / "retriever" / "item_tower.onnx")
    items = item_inputs(trained.store.catalogue, trained.encoder)
    embedded = exported.embed(items.codes, items.lists, items.numbers)
    assert embedded.shape == (len(trained.dataset.items), trained.index.report.dimensions)
    np.testing.assert_allclose(embedded, trained.towers.embed_items(items), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-4)


def test_an_item_tower_that_embeds_a_single_item_elsewhere_is_refused(trained, bundle_folder):
    exported = OnnxItemTower(bundle_folder / "retriever" / "item_tower.onnx")

    class Off:
        def embed(self, codes, lists, numbers):
            embedded = exported.embed(codes, lists, numbers)
            embedded[7] = embedded[8]
            return embedded

    with pytest.raises(ExportRefused, match="item tower and its ONNX graph differ in 'embedding'"):
        refuse_other_item_tower(trained, trained.towers, Off())
