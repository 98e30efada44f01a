"""What a loader stored of a log in another, and what was there already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loaded:
    """Counts; parts add up with `+`."""

    slates: int = 0
    items: int = 0  # of all slates that were read
    events: int = 0
    known: int = 0  # slates and events that were there

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(
            self.slates + other.slates,
            self.items + other.items,
            self.events + other.events,
            self.known + other.known,
        )
