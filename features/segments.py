"""Segments: the groups of shoppers that the user table names, as codes; 0 = of nobody's or of no known group."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.schema import USERS


class UserSegments:
    """Of a user table (USERS): `count` codes, those of its words in order."""

    def __init__(self, users: pa.Table) -> None:
        words = users["segment"].cast(pa.string()).to_pylist()
        code = {word: number + 1 for number, word in enumerate(sorted({word for word in words if word is not None}))}
        self.count = len(code) + 1
        self._code = {
            name: code[word] for name, word in zip(users["user_id"].to_pylist(), words, strict=True) if word is not None
        }

    def __getitem__(self, user_id: str) -> int:
        return self._code.get(user_id, 0)

    def of(self, names: pa.Array, codes: np.ndarray) -> np.ndarray:
        """int64 [m]: the segments of the shoppers that `codes` [m] number in `names`; 0 where it is negative."""
        used, which = np.unique(codes, return_inverse=True)
        known = names.take(pa.array(np.maximum(used, 0))).to_pylist() if len(names) else []
        segment = [self[name] if code >= 0 else 0 for code, name in zip(used.tolist(), known, strict=True)]
        return np.array(segment, np.int64)[which]


NO_SEGMENTS = UserSegments(USERS.empty_table())
