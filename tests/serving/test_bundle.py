import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from marketplace.memory_log import MemoryLog
from marketplace.schema import VERSION_PARTS
from serving.bundle import build_engine, load_bundle
from serving.manifest import BundleError, open_manifest, seal


@pytest.fixture
def copied(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "copy")


def reseal(folder, *, versions=None, facts=None):
    """As somebody would who mends the hashes after mixing the parts of two bundles."""
    old = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    seal(folder, versions=old["versions"] | (versions or {}), facts=old["facts"] | (facts or {}))


def test_a_bundle_holds_what_its_page_says(bundle_folder):
    bundle = load_bundle(bundle_folder)
    names = {path.split("/")[0] for path in bundle.manifest.files}
    assert names == {
        "catalogue",
        "retriever",
        "lexical",
        "index",
        "ranker",
        "encoder.json",
        "feature_spec.json",
        "store.npz",
        "calibrators.json",
        "policy.toml",
        "surfaces.toml",
        "settings.json",
        "run.toml",
        "metrics.json",
    }
    assert set(bundle.manifest.versions) == set(VERSION_PARTS)
    assert bundle.metrics == {"order AUC": 0.5}
    assert (bundle.savedmodel / "assets.extra" / "tf_serving_warmup_requests").exists()


@pytest.mark.parametrize("name", ["ranker/heads.onnx", "policy.toml", "store.npz", "index/embeddings.npy"])
def test_one_changed_byte_in_any_part_is_found(copied, name):
    path = copied / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was changed"):
        load_bundle(copied)


def test_a_missing_part_is_named(copied):
    (copied / "ranker" / "item.onnx").unlink()
    with pytest.raises(BundleError, match=r"incomplete.*ranker/item\.onnx.*missing"):
        load_bundle(copied)


def test_a_catalogue_of_other_items_is_refused(copied):
    from marketplace.codec import read_parquet, write_parquet
    from marketplace.schema import ITEMS

    path = copied / "catalogue" / "items.parquet"
    items = read_parquet(path, ITEMS)
    write_parquet(items.slice(1), path, ITEMS)
    reseal(copied)
    with pytest.raises(BundleError, match="items in the catalogue: expected 400, found 399"):
        load_bundle(copied)
    write_parquet(items.take(np.roll(np.arange(400), 1)), path, ITEMS)
    reseal(copied)
    with pytest.raises(BundleError, match="item of row 0 in catalogue and index"):
        build_engine(load_bundle(copied), log=MemoryLog())


def test_a_ranker_of_another_feature_spec_is_refused(copied):
    reseal(copied, facts={"ranker_feature_spec": "0123456789ab"})
    with pytest.raises(BundleError, match="feature spec that the ranker was trained on: expected 0123456789ab"):
        load_bundle(copied)


def test_a_policy_that_is_not_the_manifests_is_refused(copied):
    text = (copied / "policy.toml").read_text()
    (copied / "policy.toml").write_text(text.replace("0.14", "0.99"))
    reseal(copied)
    with pytest.raises(BundleError, match=r"version of policy\.toml"):
        load_bundle(copied)


def test_an_unreadable_policy_says_which_line(copied):
    (copied / "policy.toml").write_text("name = \n")
    reseal(copied)
    with pytest.raises(BundleError, match=r"policy\.toml"):
        load_bundle(copied)


def test_an_index_of_other_dimensions_than_the_query_tower_is_refused(copied):
    report = json.loads((copied / "index" / "report.json").read_text())
    (copied / "index" / "report.json").write_text(json.dumps(report | {"dimensions": 99}))
    reseal(copied)
    with pytest.raises(BundleError, match="dimensions of query tower and index: expected 99, found 8"):
        build_engine(load_bundle(copied), log=MemoryLog())


def test_a_ranker_of_other_widths_is_refused(copied):
    spec = json.loads((copied / "feature_spec.json").read_text())
    shorter = [row for row in spec if row["name"] != "pair_clicks"]
    encoder = json.loads((copied / "encoder.json").read_text()) | {"spec": shorter}
    (copied / "encoder.json").write_text(json.dumps(encoder))
    (copied / "feature_spec.json").write_text(json.dumps(shorter))
    from features.encoder import Encoder

    version = Encoder.from_json(json.dumps(encoder)).spec.version
    reseal(copied, facts={"ranker_feature_spec": version})
    with pytest.raises(BundleError, match="columns of the ranker's input cross_numbers"):
        build_engine(load_bundle(copied), log=MemoryLog())


def test_unknown_settings_are_refused(copied):
    (copied / "settings.json").write_text('{"speed": 11}')
    reseal(copied)
    with pytest.raises(BundleError, match="speed"):
        load_bundle(copied)


def test_a_formula_that_reads_what_nobody_predicts_is_refused(bundle_folder, tmp_path):
    from value_model.formula import parse_policy

    text = """
    name = "odd"
    owner = "test"
    reason = "reads a head that the ranker does not have"
    currency = "SAR"
    unit = "SAR / impression"
    [expressions]
    value = "w * likes"
    [quantities.likes]
    unit = "like / impression"
    low = 0.0
    high = 1.0
    head = true
    [weights.w]
    value = 1.0
    unit = "SAR / like"
    low = 0.0
    high = 2.0
    owner = "test"
    reason = "test"
    """
    bundle = replace(load_bundle(bundle_folder), policy=parse_policy(text))
    with pytest.raises(BundleError, match="'odd' reads \\['likes'\\]"):
        build_engine(bundle, log=MemoryLog())


def test_versions_follow_the_content(bundle_folder, copied):
    assert open_manifest(bundle_folder).version == open_manifest(copied).version
    (copied / "metrics.json").write_text("{}\n")
    reseal(copied)
    assert open_manifest(bundle_folder).version != open_manifest(copied).version
