"""Conflicts: experiments that would spoil each other's answer or fight over one request."""

from __future__ import annotations

from collections.abc import Iterator

from evaluation.experiments.experiment_file import Experiment


def conflict(one: Experiment, other: Experiment) -> str | None:
    """Why the two cannot run together, as a sentence; None where they can."""
    return next(_conflicts(one, other), None)


def _conflicts(one: Experiment, other: Experiment) -> Iterator[str]:
    if one.name == other.name:
        yield f"another file has the name {one.name!r}: give each experiment its own"
    if not (one.start < other.end and other.start < one.end):
        return
    if one.layer.name == other.layer.name:
        yield from _within_a_layer(one, other)
        return
    if one.surfaces and other.surfaces and not set(one.surfaces) & set(other.surfaces):
        return
    for changed in ("policy", "surfaces"):
        if _changes(one, changed) and _changes(other, changed):
            yield (
                f"both {one.name!r} and {other.name!r} change the {changed} of a request: put them into one layer, in "
                "parts that do not overlap, or on different surfaces"
            )
    for first, second in ((one, other), (other, one)):
        if _changes(first, "bundle") and any(_changes(second, changed) for changed in ("policy", "surfaces", "bundle")):
            yield (
                f"{first.name!r} answers from another bundle, and {second.name!r} changes the same requests: put them "
                "into one layer, in parts that do not overlap, or on different surfaces"
            )


def _within_a_layer(one: Experiment, other: Experiment) -> Iterator[str]:
    layer = one.layer.name
    for what, first, second in (
        ("salts", one.layer.salt, other.layer.salt),
        ("units", one.unit.value, other.unit.value),
        ("windows of hours", one.window_hours, other.window_hours),
    ):
        if first != second and (what != "windows of hours" or one.unit.value == "city_time"):
            yield (
                f"{one.name!r} and {other.name!r} share the layer {layer!r} with different {what}, {first!r} and "
                f"{second!r}, so that its parts do not exclude each other: use one, or another layer"
            )
    if one.layer.shares_units(other.layer):
        yield (
            f"{one.name!r} has the part {one.layer.low:g} to {one.layer.high:g} of the layer {layer!r}, which overlaps "
            f"with {other.layer.low:g} to {other.layer.high:g} of {other.name!r}: choose parts that do not"
        )


def _changes(experiment: Experiment, field: str) -> bool:
    return any(getattr(variant, field) is not None for variant in experiment.variants)
