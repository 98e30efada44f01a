"""Feature snapshot: what was known of requests and rows, read as a frame, as logged features or as model inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from features.definitions import FORMULAS
from features.encoder import EncodedItems, Encoder
from features.history_columns import NAMES, OF_ITEM, WORDS, places
from features.item_columns import item_column, item_facts
from features.request_text import RequestText
from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind, ModelInputs, Source
from features.state import FeatureState


@dataclass(frozen=True, eq=False)
class FeatureSnapshot:
    """R requests over N rows, before anything is encoded.

    `text[name]` are the request's own categories: string [R], or list<string> [R] for `query_tokens`;
    `candidate_words[name]` those that came with each candidate, string [N].
    """

    spec: FeatureSpec
    catalogue: Catalogue
    state: FeatureState
    text: Mapping[str, pa.Array]
    candidate_words: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def history(self) -> np.ndarray:
        """int32 [R, HISTORY]: catalogue rows touched last, oldest first, padded with -1 at the end."""
        return self.state["history"]

    def touched(self) -> np.ndarray:
        """int32: catalogue rows of the distinct items that the first request's user touched last, newest last."""
        return self.history[0][self.history[0] >= 0]

    def only(self, kept: np.ndarray) -> FeatureSnapshot:
        """Of one request with more than one row: the rows at the positions `kept`."""
        state, n = self.state, len(self.state.item)

        def of_kept(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: values[kept] if len(values) == n else values for name, values in columns.items()}

        words = {name: column.take(pa.array(kept)) for name, column in self.candidate_words.items()}
        some = replace(
            state,
            offsets=np.array([0, len(kept)]),
            request=state.request[kept],
            statistics=of_kept(state.statistics),
            sent=of_kept(state.sent),
            **item_facts(state.item[kept], state.price[kept], self.catalogue),
        )
        return replace(self, state=some, candidate_words=words)

    def frame(self, keep: np.ndarray | None = None) -> FeatureFrame:
        """The raw features, of the rows `keep` (increasing positions) or of all; nothing is recomputed among them."""
        columns = {feature.name: self._column(feature, keep) for feature in self.spec.features}
        return FeatureFrame(self.spec, self._offsets(keep), columns)

    def numbers(self, group: Group) -> np.ndarray:
        """float32 [R or N, numbers of the group], in spec order."""
        features = self.spec.select(group, Kind.NUMBER)
        rows = len(self.state.time) if group is Group.USER else len(self.state.item)
        packed = np.empty((rows, len(features)), np.float32)
        for column, feature in enumerate(features):
            packed[:, column] = _number_of(feature, self.state)
        return packed

    def cross_codes(self, encoder: Encoder) -> np.ndarray:
        """int32 [N, cross categories]."""
        features = self.spec.select(Group.CROSS, Kind.CATEGORY)
        packed = np.empty((len(self.state.item), len(features)), np.int32)
        for column, feature in enumerate(features):
            packed[:, column] = encoder.codes(feature, self.candidate_words[feature.name])
        return packed

    def inputs(self, encoder: Encoder, items: EncodedItems) -> ModelInputs:
        """Model inputs without building a frame; rows must be of the catalogue that `items` encodes."""
        rows = self.state.item
        codes, lists = self._user_codes(encoder, items)
        return ModelInputs(
            user_codes=codes,
            user_lists=lists,
            user_numbers=self.numbers(Group.USER),
            item_codes=items.codes[rows],
            item_lists=items.lists[rows],
            item_numbers=self.numbers(Group.ITEM),
            cross_codes=self.cross_codes(encoder),
            cross_numbers=self.numbers(Group.CROSS),
            request=self.state.request.astype(np.int32),
        )

    def user_inputs(self, encoder: Encoder, items: EncodedItems) -> ModelInputs:
        """The user group alone, encoded: what a query tower reads before there are candidates."""
        codes, lists = self._user_codes(encoder, items)
        return ModelInputs(
            user_codes=codes,
            user_lists=lists,
            user_numbers=self.numbers(Group.USER),
            item_codes=items.codes[:0],
            item_lists=items.lists[:0],
            item_numbers=np.zeros((0, len(self.spec.select(Group.ITEM, Kind.NUMBER))), np.float32),
            cross_codes=np.zeros((0, len(self.spec.select(Group.CROSS, Kind.CATEGORY))), np.int32),
            cross_numbers=np.zeros((0, len(self.spec.select(Group.CROSS, Kind.NUMBER))), np.float32),
            request=np.zeros(0, np.int32),
        )

    def user_value(self, name: str) -> str | list[str] | None:
        """The first request's own category, or words, `name`; None where it is missing or unknown."""
        if isinstance(self.text, RequestText):
            return self.text.plain.get(name)
        return self.text[name][0].as_py() if name in self.text else None

    def _user_codes(self, encoder: Encoder, items: EncodedItems) -> tuple[np.ndarray, np.ndarray]:
        codes, requests = [], len(self.state.time)
        for feature in self.spec.select(Group.USER, Kind.CATEGORY):
            codes.append(self._text_codes(feature, encoder))
        lists = [np.zeros((requests, 0), np.int32)]
        for feature in self.spec.select(Group.USER, Kind.CATEGORIES):
            if feature.name in OF_ITEM:
                code = items.of(OF_ITEM[feature.name])
                lists.append(np.where(self.history >= 0, code[self.history], 0)[:, : feature.length])
            elif feature.name in WORDS:
                code = encoder.word_codes(feature, WORDS[feature.name])
                lists.append(code[places(feature.name, self.state, self.catalogue.price)][:, : feature.length])
            else:
                lists.append(self._text_codes(feature, encoder))
        return np.stack(codes, axis=1) if codes else lists[0], np.concatenate(lists, axis=1)

    def _text_codes(self, feature: Feature, encoder: Encoder) -> np.ndarray:
        """int32 [R] or [R, length]; one request's text is looked up word by word, without making Arrow arrays of it."""
        if not isinstance(self.text, RequestText):
            encode = encoder.codes if feature.kind is Kind.CATEGORY else encoder.list_codes
            return encode(feature, self.text[feature.name])
        value = self.text.plain[feature.name]
        code = encoder.row(feature, value) if isinstance(value, list) else encoder.code(feature, value)
        return np.array([code], np.int32)

    def _offsets(self, keep: np.ndarray | None) -> np.ndarray:
        if keep is None:
            return self.state.offsets
        return np.searchsorted(keep, self.state.offsets).astype(np.int64)

    def _column(self, feature: Feature, keep: np.ndarray | None) -> pa.Array:
        rowwise = feature.group is not Group.USER and keep is not None
        if feature.kind is Kind.NUMBER:
            values = _number_of(feature, self.state).astype(np.float32)
            return pa.array(values[keep] if rowwise else values)
        if feature.group is Group.USER:
            return self._history(feature.name) if feature.name in NAMES else self.text[feature.name]
        if feature.group is Group.CROSS:
            words = self.candidate_words[feature.name]
            return words.take(pa.array(keep)) if rowwise else words
        return item_column(feature.name, self.catalogue, self.state.item[keep] if rowwise else self.state.item)

    def history_words(self, name: str) -> np.ndarray:
        """str or None: a column of the first request's history that is not of its items, as it is logged."""
        return self._history_words(name)[0][self.history[0] >= 0]

    def _history_words(self, name: str) -> np.ndarray:
        """[R, HISTORY]"""
        return WORDS[name][places(name, self.state, self.catalogue.price)]

    def _history(self, name: str) -> pa.Array:
        touched = self.history >= 0
        offsets = pa.array(np.append(0, np.cumsum(touched.sum(axis=1))), pa.int32())
        if name in OF_ITEM:
            values = item_column(OF_ITEM[name], self.catalogue, self.history[touched]).cast(pa.string())
        else:
            values = pa.array(self._history_words(name)[touched], pa.string())
        return pa.ListArray.from_arrays(offsets, values)


def _number_of(feature: Feature, state: FeatureState) -> np.ndarray:
    """[R] or [N]: a standard feature by its formula, a mapped one as it is known."""
    if feature.source is Source.STANDARD:
        return np.asarray(FORMULAS[feature.name](state))
    return (state.of_item if feature.source is Source.ITEM else state.sent)[feature.name]


def item_numbers(catalogue: Catalogue, spec: FeatureSpec, *, rows: np.ndarray | None = None) -> np.ndarray:
    """float32 [m, item numbers]: the item numbers of catalogue rows (None = all), at the catalogue's price."""
    rows = np.arange(len(catalogue), dtype=np.int32) if rows is None else rows
    facts = SimpleNamespace(**item_facts(rows, catalogue.price[rows], catalogue))
    features = spec.select(Group.ITEM, Kind.NUMBER)
    packed = np.empty((len(rows), len(features)), np.float32)
    for column, feature in enumerate(features):
        packed[:, column] = _number_of(feature, facts)  # type: ignore[arg-type]
    return packed
