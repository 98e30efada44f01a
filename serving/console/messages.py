"""Messages: every text of the console in English and in Arabic, from one catalogue (messages.toml)."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import SimpleNamespace

CATALOGUE = Path(__file__).with_name("messages.toml")


class Language(StrEnum):
    """As BCP 47 names them."""

    ENGLISH = "en"
    ARABIC = "ar"

    @property
    def direction(self) -> str:
        return "rtl" if self is Language.ARABIC else "ltr"

    @property
    def other(self) -> Language:
        return Language.ENGLISH if self is Language.ARABIC else Language.ARABIC


@cache
def catalogue() -> dict[str, list[str]]:
    """Key -> its text in every `Language`, in their order."""
    return tomllib.loads(CATALOGUE.read_text("utf-8"))


@cache
def messages(language: Language) -> SimpleNamespace:
    """The texts of one language as attributes, for templates."""
    place = list(Language).index(language)
    return SimpleNamespace(**{key: texts[place] for key, texts in catalogue().items()})
