"""Hypothesis strategies from a JSON schema: content that follows it, and content in which some of it does not."""

import json

from hypothesis import strategies as st

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),  # NaN and infinities, which JSON knows under no name, among them
    st.text(max_size=30),
    st.sampled_from(
        ["", "\x00", "\ud800", "x" * 10_000, "../../etc/passwd", "'; DROP TABLE slates;--", "{{7*7}}", "١٢٣"]
    ),
    st.sampled_from(["0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999+14:00", "now"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.just([[[[[[]]]]]]),
)
PLAIN = st.characters(exclude_categories=("Cc", "Cs"))
SHORT = 4  # entries of a list or map


def of_schema(schema: dict, root: dict, words: dict[str, list], *, hostile: float = 0.0) -> st.SearchStrategy:
    """Content of the schema; every part of it is replaced by HOSTILE content with the probability `hostile`.

    `words` are likely values by the name of a field, which the schema cannot know.
    """

    def content(part: dict, name: str = "") -> st.SearchStrategy:
        if "$ref" in part:
            return content(root["components"]["schemas"][part["$ref"].rpartition("/")[2]], name)
        if "anyOf" in part:
            return st.one_of(*(spoilt(one, name) for one in part["anyOf"]))
        if "const" in part or "enum" in part:
            return st.sampled_from(part.get("enum") or [part["const"]])
        kind = part.get("type")
        if isinstance(kind, list):
            return st.one_of(*(spoilt({**part, "type": one}, name) for one in kind))
        return of_type(part, name, kind)

    def of_type(part: dict, name: str, kind: str | None) -> st.SearchStrategy:
        low, high = part.get("minimum", part.get("exclusiveMinimum")), part.get("maximum", part.get("exclusiveMaximum"))
        if kind == "string":
            return text(part, name)
        if kind == "integer":
            return st.integers(low, min(high or 2**63, 2**63 - 1))
        if kind == "number":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        if kind in ("boolean", "null"):
            return st.booleans() if kind == "boolean" else st.none()
        if kind == "array":
            return st.lists(spoilt(part.get("items", {}), name), min_size=part.get("minItems", 0), max_size=SHORT)
        if kind == "object":
            return mapping(part)
        return HOSTILE

    def text(part: dict, name: str) -> st.SearchStrategy:
        if part.get("format") == "date-time":
            return st.sampled_from(words["time"])
        free = st.text(PLAIN, min_size=part.get("minLength", 0), max_size=min(part.get("maxLength", 20), 20))
        return st.sampled_from(words[name]) | free if name in words else free

    def mapping(part: dict) -> st.SearchStrategy:
        fields, required = part.get("properties", {}), set(part.get("required", ()))
        named = {name: spoilt(schema, name) for name, schema in fields.items()}
        fixed = st.fixed_dictionaries(
            {name: value for name, value in named.items() if name in required},
            optional={name: value for name, value in named.items() if name not in required},
        )
        more = part.get("additionalProperties")
        if isinstance(more, dict):
            return st.dictionaries(st.text(PLAIN, max_size=8), spoilt(more, ""), max_size=SHORT)
        return fixed

    def spoilt(part: dict, name: str) -> st.SearchStrategy:
        sound = st.deferred(lambda: content(part, name))
        if not hostile:
            return sound
        return st.floats(0, 1).flatmap(lambda odds: HOSTILE if odds < hostile else sound)

    return spoilt(schema, "")


def lenient(content: object) -> bytes:
    """JSON as a careless caller writes it: NaN, huge numbers and lone surrogates included."""
    return json.dumps(content).encode()
