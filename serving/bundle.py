"""Everything that one answer is computed from, in one folder that can be moved, checked and swapped.

manifest.json           hash of every file, versions, facts           encoder.json    vocabularies, feature spec
catalogue/*.parquet     items, merchants, users                       store.npz       what the feature store knew
retriever/              sources, blends, query_tower.onnx             index/          embeddings, index, its recall
lexical/                the index of words
ranker/*.onnx           the served graphs, calibrators inside         ranker/savedmodel/1   for TF-Serving
ranker/items/           what they compute of every item alone         ranker/first_phase.npz   their linear twin
ranker/trained/         the ranker as trained                         calibrators.json, feature_spec.json
policy.toml             the value formula                             surfaces.toml   the recipe of each surface
settings.json, metrics.json, run.toml (the settings of the run that trained all this)
staged.toml             another policy for a share of the shoppers, where one is tried
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.experiments.interleaving import TurnRule
from features.backends.redis_store import RedisStore
from features.catalogue import Catalogue
from features.encoder import Encoder
from features.spec import FeatureSpec
from features.store import MemoryStore, SavedStore, SharedStore
from features.text.lexical_index import LexicalIndex
from marketplace.codec import read_parquet
from marketplace.dataset import Dataset, with_room
from marketplace.finding import DataError
from marketplace.log import Log
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, empty, microseconds_of
from retrieval.build import BuiltIndex, load_index
from retrieval.item_filter import UnknownWord
from retrieval.moving_index import MovingIndex
from retrieval.saved_sources import UnknownSource, load_retriever, saved_names
from retrieval.surfaces import SurfaceRecipes, load_surfaces
from serving.arms import ArmBuilder, BundleArm, PolicyArm, RecipeArm
from serving.availability import Availability
from serving.candidate_generation import CandidateGenerator
from serving.config import ServingConfig
from serving.engine import RankingEngine
from serving.first_phase import load_first_phase
from serving.interleaving import teams
from serving.item_table import ItemTable
from serving.item_tower import OnnxItemTower
from serving.live_catalogue import LiveCatalogue, MovingParts
from serving.live_experiments import LiveExperiments
from serving.manifest import BundleError, Manifest, agree, open_manifest
from serving.onnx_scorer import OnnxScorer
from serving.parts import Parts
from serving.query_tower import OnnxQueryTower
from serving.scorer import NoHeads, Scorer
from serving.slate_selection import SlateSelector
from serving.staging import StagedPolicy
from serving.store_checkpoint import StoreCheckpoint
from serving.trial_requests import try_out
from serving.valuation import Valuation
from serving.variant_bundles import VariantBundles, check_beside
from value_model.formula import PolicyError, ValuePolicy, load_policy
from value_model.merchant import ItemMerchants, MerchantTable

ITEM_PARTS, FIRST_PHASE = Path("ranker", "items"), Path("ranker", "first_phase.npz")
POLICY_FILE, STAGED_FILE = "policy.toml", "staged.toml"
STORE_FILES = ("store.npz", "encoder.json", "catalogue/")
AGAIN = "Export the whole bundle again; do not mix parts of several."


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A checked bundle: the parts that are cheap to hold; the rest is read from `folder` by `build_engine`."""

    folder: Path
    manifest: Manifest
    catalogue: Dataset  # items, merchants, users and currency; no slates, no feedback
    encoder: Encoder
    policy: ValuePolicy
    recipes: SurfaceRecipes
    config: ServingConfig
    staged: ValuePolicy | None = None

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def store_version(self) -> str:
        """Hash of what store and shadow prices depend on: the same under all policies that promise no exposure."""
        policy = self.policy.version if promising(self.policy) else ""
        known = {name: digest for name, digest in self.manifest.files.items() if name.startswith(STORE_FILES)}
        return hashlib.sha256(json.dumps([known, policy], sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What evaluation said of the parts."""
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def catalogue_until(self) -> int:
        """UTC microseconds: what was recorded before of items and merchants is in the catalogue."""
        facts = self.manifest.facts
        return microseconds_of(datetime.fromisoformat(str(facts.get("catalogue_until", facts["known_until"]))))

    @property
    def savedmodel(self) -> Path:
        return self.folder / "ranker" / "savedmodel" / "1"


def load_bundle(folder: Path, *, known: Collection[str] = ()) -> ModelBundle:
    """The bundle in `folder`, after its files were found unchanged and its parts to belong together.

    Files that are `known` were hashed just now. Raises BundleError: which file or part, what was expected and found,
    and what to do.
    """
    folder = Path(folder).resolve()
    manifest = open_manifest(folder, known=known)
    try:
        policy = load_policy(folder / POLICY_FILE)
        recipes = load_surfaces(folder / "surfaces.toml", known=saved_names(folder / "retriever"))
        encoder = Encoder.from_json((folder / "encoder.json").read_text())
        config = ServingConfig.from_json((folder / "settings.json").read_text(), where=str(folder / "settings.json"))
        staged = load_policy(folder / STAGED_FILE) if (folder / STAGED_FILE).exists() else None
        catalogue = _catalogue(folder, manifest)
        bundle = ModelBundle(folder, manifest, catalogue, encoder, policy, recipes, config, staged)
    except (PolicyError, DataError, OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError) as error:
        raise BundleError(f"bundle {folder} cannot be read: {error}. {AGAIN}") from error
    _check_declared(bundle)
    return bundle


def build_engine(
    bundle: ModelBundle,
    *,
    log: Log,
    store: SavedStore | SharedStore | None = None,
    scorer: Scorer | None = None,
    checkpoint: StoreCheckpoint | None = None,
    experiments: Path | None = None,
    variants: Callable[[Path], RankingEngine] | None = None,
) -> RankingEngine:
    """The engine of a bundle; `store` None = the bundle's own, `scorer` None = ONNX Runtime.

    `checkpoint` keeps what its store learns from the log. `experiments`: the folder that it follows, None = none;
    `variants` builds the engine of a bundle that one of their variants is, None = such experiments are left out.
    Raises BundleError where the parts do not belong together.
    """
    catalogue = _catalogue_with_room(bundle, log) if store is None else store.catalogue
    item_table = ItemTable.of(catalogue, encoder=bundle.encoder)
    availability = _availability(bundle.catalogue, catalogue)
    scorer, merchants = scorer or own_scorer(bundle), _item_merchants(bundle, catalogue)
    index, lexical_index = _index(bundle, item_table), catalogue.saved_index or _lexical_index(bundle)

    def policy_arm(in_force: ValuePolicy, policy: ValuePolicy, turns: TurnRule | None) -> PolicyArm:
        version, ours, rival = teams(in_force, policy, turns)
        valuation = Valuation(ours, merchants, margin=catalogue.margin, spec=bundle.encoder.spec, rival=rival)
        valuation.check(scorer.heads)
        begun, embeddings = catalogue.begun, None if index is None else index.embeddings
        slate_selector = SlateSelector(
            ours, bundle.config, item_table, merchants=merchants, begun=begun, embeddings=embeddings, rival=rival
        )
        return PolicyArm(version, valuation, slate_selector)

    def recipe_arm(recipes: SurfaceRecipes) -> RecipeArm:
        generator = _candidate_generator(
            bundle, recipes, item_table, availability, catalogue.begun, index, lexical_index
        )
        return RecipeArm(recipes.version, generator)

    builder = ArmBuilder(bundle.policy, policy_arm, lambda file: recipe_arm(_recipes(bundle, file)))
    parts = Parts(
        bundle=bundle.version,
        versions=bundle.manifest.versions,
        currency=bundle.catalogue.currency,
        known_until=datetime.fromisoformat(str(bundle.manifest.facts["known_until"])),
        config=bundle.config,
        encoder=bundle.encoder,
        item_table=item_table,
        lexical_index=lexical_index,
        candidate_generator=recipe_arm(bundle.recipes).candidate_generator,
        scorer=scorer,
        first_phase=load_first_phase(bundle.folder / FIRST_PHASE, scorer.heads) if bundle.config.ranked else None,
        **policy_parts(builder, bundle.policy, bundle.staged, bundle.manifest),
    )
    moving = MovingParts(
        catalogue,
        item_table,
        availability,
        merchants,
        bundle.encoder,
        lexical_index=lexical_index,
        index=index,
        item_tower=_item_tower(bundle.folder / "retriever"),
    )
    live = LiveCatalogue(bundle.catalogue, moving, log, since=bundle.catalogue_until)
    store = store or _store(bundle, catalogue)
    bundles = _variant_bundles(bundle, lambda: itself.parts, variants)
    followed = LiveExperiments(experiments, parts, builder, bundles=bundles, every=bundle.config.follow_seconds)
    engine = RankingEngine(parts, store=store, log=log, live=live, experiments=followed, checkpoint=checkpoint)
    itself = weakref.proxy(engine)  # no cycle: an engine goes with its last answer, and nobody has to look for it
    followed.prove = lambda changed: try_out(itself, parts=changed)
    engine.follow()
    return engine


def policy_parts(
    builder: ArmBuilder, policy: ValuePolicy, staged: ValuePolicy | None, manifest: Manifest
) -> dict[str, Any]:
    """The fields of Parts that the policies of a bundle decide; raises BundleError."""
    in_force, trial = builder.policy(policy, None), None
    if staged is not None:
        trial = StagedPolicy(builder.policy(staged, None), float(manifest.facts["staged_share"]))
    return {
        "valuation": in_force.valuation,
        "slate_selector": in_force.slate_selector,
        "staged": trial,
        "arms": {} if trial is None else {trial.version: trial.arm},
    }


def _variant_bundles(
    bundle: ModelBundle, in_force: Callable[[], Parts], variants: Callable[[Path], RankingEngine] | None
) -> VariantBundles:
    """Those beside `bundle`, whose engine has the parts `in_force`."""

    def load(folder: Path) -> BundleArm:
        assert variants is not None
        engine = variants(folder)
        check_beside(in_force(), engine.parts)
        return BundleArm(engine.parts.versions, engine)

    return VariantBundles(bundle.folder.parent, None if variants is None else load)


def redis_store(bundle: ModelBundle, url: str, *, log: Log) -> RedisStore:
    """The feature store of a bundle in the Redis at `url`, seeded with what the bundle's store knew.

    Raises BundleError for a policy whose prices each process learns by itself; StoreUnavailable.
    """
    if promising(bundle.policy):
        raise BundleError(
            f"bundle {bundle.folder}: its policy promises merchants exposure, and what that costs every process learns "
            "from the whole log. Serve it without --features, or publish a policy without [slate.exposure]."
        )
    local = MemoryStore(bundle.encoder.spec, _catalogue_with_room(bundle, log), bundle.catalogue.users)
    return RedisStore(url, local, version=bundle.store_version, seed=bundle.folder / STORE_FILES[0])


def _item_merchants(bundle: ModelBundle, catalogue: Catalogue) -> ItemMerchants:
    table = MerchantTable.from_table(bundle.catalogue.merchants)
    return ItemMerchants(table, table.codes(catalogue.merchant_names)[catalogue.merchant])


def _catalogue_with_room(bundle: ModelBundle, log: Log) -> Catalogue:
    """The bundle's catalogue, and vacant rows behind it: for the items that the log begins, and more to come."""
    bundled = bundle.catalogue
    room = max(bundle.config.new_items, 2 * len(log.catalogue_after(0)[0]))
    dataset = replace(bundled, items=with_room(bundled.items, room, currency=bundled.currency))
    return Catalogue.of(dataset, lexical_index=_lexical_index(bundle))


def _availability(bundled: Dataset, catalogue: Catalogue) -> Availability:
    vacant = len(catalogue) - len(bundled.items)
    in_stock = np.append(bundled.items["in_stock"].to_numpy(), np.zeros(vacant, bool))
    return Availability(in_stock, catalogue.launched, vacant=vacant)


def _item_tower(folder: Path) -> OnnxItemTower | None:
    path = folder / "item_tower.onnx"
    return OnnxItemTower(path) if path.exists() else None


def _catalogue(folder: Path, manifest: Manifest) -> Dataset:
    def table(name: str, schema: pa.Schema) -> pa.Table:
        return read_parquet(folder / "catalogue" / f"{name}.parquet", schema)

    return Dataset(
        name=str(manifest.facts["data"]),
        currency=str(manifest.facts["currency"]),
        items=table("items", ITEMS),
        merchants=table("merchants", MERCHANTS),
        users=table("users", USERS),
        slates=empty(SLATE),
        feedback=empty(FEEDBACK),
    )


def _lexical_index(bundle: ModelBundle) -> LexicalIndex | None:
    """None where names and queries are no words."""
    folder = bundle.folder / "lexical"
    return LexicalIndex.load(folder) if folder.exists() else None


def _check_declared(bundle: ModelBundle) -> None:
    """What can be compared without loading a model."""
    spec, facts = bundle.encoder.spec, bundle.manifest.facts
    alone = FeatureSpec.from_json((bundle.folder / "feature_spec.json").read_text())
    agree(alone.version, spec.version, what="feature spec of encoder.json", fix=AGAIN)
    agree(facts["ranker_feature_spec"], spec.version, what="feature spec that the ranker was trained on", fix=AGAIN)
    agree(facts["items"], len(bundle.catalogue.items), what="items in the catalogue", fix=AGAIN)
    agree(bundle.manifest.versions["surfaces"], bundle.recipes.version, what="version of surfaces.toml", fix=AGAIN)
    check_policies(bundle.policy, bundle.staged, bundle.manifest, currency=bundle.catalogue.currency)


def check_policies(policy: ValuePolicy, staged: ValuePolicy | None, manifest: Manifest, *, currency: str) -> None:
    """Raise BundleError where the policies of a bundle are not those of its manifest, or do not go together."""
    agree(manifest.versions["policy"], policy.version, what="version of policy.toml", fix=AGAIN)
    agree(currency, policy.currency, what="currency of the value policy", fix=AGAIN)
    if staged is not None:
        agree(manifest.facts.get("staged_policy"), staged.version, what=f"version of {STAGED_FILE}", fix=AGAIN)
        agree(currency, staged.currency, what="currency of the staged policy", fix=AGAIN)
        if promising(policy) or promising(staged):
            raise BundleError(
                f"bundle {manifest.version}: a policy that promises merchants exposure cannot be staged, nor served "
                "beside a staged one: its promises are kept over all shoppers. Publish it to everybody."
            )


def promising(policy: ValuePolicy) -> bool:
    """Whether it promises merchants exposure, which is kept over all shoppers."""
    return policy.slate is not None and policy.slate.exposure is not None


def own_scorer(bundle: ModelBundle) -> Scorer:
    """The bundle's ranker in ONNX Runtime; raises BundleError where its inputs are not those of the features."""
    if not (bundle.folder / "ranker").exists():
        return NoHeads()
    capacity = max(1, min(bundle.config.cached_items, len(bundle.catalogue.items)))
    scorer = OnnxScorer(bundle.folder / "ranker", capacity=capacity)
    scorer.check(bundle.encoder.spec)
    scorer.load_parts(bundle.folder / ITEM_PARTS)
    return scorer


def _index(bundle: ModelBundle, item_table: ItemTable) -> MovingIndex | None:
    if not (bundle.folder / "index").exists():
        return None
    index, item_ids = load_index(bundle.folder / "index")
    _check_index(index, item_ids, item_table)
    return MovingIndex(index, room=len(item_table) - index.report.rows)


def _recipes(bundle: ModelBundle, file: Path) -> SurfaceRecipes:
    """Of a file, over the bundle's sources; raises DataError."""
    return load_surfaces(file, known=saved_names(bundle.folder / "retriever"))


def _candidate_generator(
    bundle: ModelBundle,
    recipes: SurfaceRecipes,
    item_table: ItemTable,
    availability: Availability,
    begun: np.ndarray,
    index: MovingIndex | None,
    lexical_index: LexicalIndex | None,
) -> CandidateGenerator:
    folder, tower = bundle.folder / "retriever", None
    if (folder / "query_tower.onnx").exists() and index is not None:
        tower = OnnxQueryTower(folder / "query_tower.onnx")
        agree(index.report.dimensions, tower.dimensions, what="dimensions of query tower and index", fix=AGAIN)
    try:
        retriever = load_retriever(
            folder,
            recipes,
            index=index,
            lexical_index=lexical_index,
            n_items=len(bundle.catalogue.items),
            begun=begun,
        )
        searched = None if index is None else index.index
        return CandidateGenerator(retriever, item_table, availability=availability, tower=tower, index=searched)
    except (UnknownSource, UnknownWord, ValueError) as error:
        raise BundleError(f"bundle {bundle.folder}: {error} {AGAIN}") from error


def _check_index(index: BuiltIndex, item_ids: list[str], item_table: ItemTable) -> None:
    bundled = item_table.item_id[item_table.item_id != ""]
    agree(len(bundled), index.report.rows, what="rows of catalogue and index", fix=AGAIN)
    if not np.array_equal(np.array(item_ids, object), bundled):
        row = next(row for row, name in enumerate(bundled) if name != item_ids[row])
        agree(item_table.item_id[row], item_ids[row], what=f"item of row {row} in catalogue and index", fix=AGAIN)


def _store(bundle: ModelBundle, catalogue: Catalogue) -> MemoryStore:
    store = MemoryStore(bundle.encoder.spec, catalogue, bundle.catalogue.users)
    try:
        store.restore(bundle.folder / "store.npz")
    except ValueError as error:
        raise BundleError(f"bundle {bundle.folder}: {error} {AGAIN}") from error
    return store
