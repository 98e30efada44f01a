"""Light stems: words of one noun, singular and plural, with and without article, as one term.

Arabic after Light10 (Larkey, Ballesteros and Connell 2007, table 2), English after the S stemmer (Harman 1991): both
cut few endings and never look inside a word, so that names stay apart. Words are in normal form (`normal_form`).
"""

from __future__ import annotations

from functools import lru_cache

ARTICLES = ("وال", "بال", "كال", "فال", "ال", "لل")
ENDINGS = ("ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي")  # ta marbuta is ha by now
ARABIC = ("\u0600", "\u06ff")


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The term of a word; numbers and other scripts are terms themselves."""
    if is_arabic(word):
        return _arabic(word)
    return _english(word) if word.isascii() and len(word) > 3 else word


def is_arabic(word: str) -> bool:
    """Whether a word, or any letter of a text, is Arabic."""
    return any(ARABIC[0] <= letter <= ARABIC[1] for letter in word)


def _arabic(word: str) -> str:
    if word.startswith("و") and len(word) > 3 and word[1:].startswith(ARTICLES):
        word = word[1:]
    for article in ARTICLES:
        if word.startswith(article) and len(word) - len(article) >= 2:
            word = word[len(article) :]
            break
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            word = word[: -len(ending)]
    return word


def _english(word: str) -> str:
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return word[:-2]
    if word.endswith("s") and word[-2] not in "us":
        return word[:-1]
    return word
