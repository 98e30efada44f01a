"""Normal form, stems, and the index of words: what must be the same word, and which items answer a query."""

import numpy as np
import pytest

from features.text.bm25 import further_postings
from features.text.documents import Document
from features.text.lexical_index import LexicalIndex
from features.text.light_stems import stem
from features.text.normal_form import words
from marketplace.schema import RELEVANCE_GRADES

ITEMS = (
    ("Najm Smartphone Pro 128GB", "smartphones", "Najm"),
    ("هاتف نجم برو ١٢٨", "smartphones", "Najm"),
    ("Qamar Smartphone Mini", "smartphones", "Qamar"),
    ("هاتف قمر ميني", "smartphones", "Qamar"),
    ("هاتف قمر أسود", "smartphones", "Qamar"),
    ("هاتف شمس أسود", "smartphones", "Shams"),
    ("عطر شمس فاخر", "perfume", "Shams"),
    ("عطر قمر طبيعي", "perfume", "Qamar"),
    ("عطر نجم كلاسيك", "perfume", "Najm"),
    ("Najm Perfume Classic", "perfume", "Najm"),
    ("حقيبة يد", "handbags", "Shams"),
    ("Handbag", "handbags", "Qamar"),
)


def document(name, category, brand, *text):
    return Document.of(name, groups=[("category", category), ("brand", brand)], text=text)


def index_of(*further) -> LexicalIndex:
    return LexicalIndex.of([document(*item) for item in (*ITEMS, *further)])


INDEX = index_of()


def graded(index, text):
    """{grade: rows best first}."""
    match, names = index.match(text), {number: name for name, number in RELEVANCE_GRADES.items()}
    rows: dict[str, list[int]] = {}
    for place in match.order:
        rows.setdefault(names[int(match.grade[place])], []).append(int(match.rows[place]))
    return rows


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("أحمد إحمد آحمد ٱحمد", "احمد احمد احمد احمد"),
        ("على عـلـى", "علي علي"),
        ("مدرسة", "مدرسه"),
        ("مَدْرَسَةٌ", "مدرسه"),
        ("مؤمن شيء قائمة", "مومن شيء قايمه"),
        ("١٢٨ ۱۲۸ 128", "128 128 128"),
        ("ﻻب", "لاب"),
        ("کتاب‌ها", "كتابها"),
        ("Crème BRÛLÉE, men's", "creme brulee mens"),
        ("128GB", "128 gb"),
        ("wi\u00adfi", "wifi"),
        ("", ""),
    ],
)
def test_spellings_of_one_normal_form(one, other):
    assert words(one) == other.split()
    assert words(" ".join(words(one))) == words(one)


@pytest.mark.parametrize(
    "forms",
    [
        ("سماعات", "سماعه", "السماعات", "والسماعه"),
        ("عطر", "العطر", "للعطر"),
        ("رياضي", "رياضيه"),
        ("phone", "phones"),
        ("watch", "watches"),
        ("dress", "dresses"),
        ("battery", "batteries"),
    ],
)
def test_forms_of_one_word_have_one_stem(forms):
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(("one", "other"), [("bed", "bedding"), ("ورد", "رد"), ("bus", "bu"), ("128", "12")])
def test_names_stay_apart(one, other):
    assert stem(one) != stem(other)


@pytest.mark.parametrize("text", [name for name, *_ in ITEMS] + ["هَاتف نجم برو 128", "najm smartphone PRO 128 gb"])
def test_a_name_comes_first_whatever_its_spelling(text):
    match = INDEX.match(text)
    assert ITEMS[match.rows[match.order[0]]][0] in {text, "هاتف نجم برو ١٢٨", "Najm Smartphone Pro 128GB"}
    assert match.grade.max() == RELEVANCE_GRADES["name"]


def test_grades_of_a_query():
    assert graded(INDEX, "smartphone") == {"all": [2, 0, 1, 3, 4, 5]}  # Arabic names too: so their category is called
    assert graded(INDEX, "هاتف")["all"] == [3, 4, 5, 1, 0, 2]  # the word names the category of the last two
    assert graded(INDEX, "هاتف قمر")["all"] == [3, 4, 2]
    assert graded(INDEX, "smartphone mini gold")["most"] == [2]
    assert set(graded(INDEX, "handbag gold xxxxxx")) == {"part"}
    assert graded(INDEX, "zzzz") == graded(INDEX, "") == graded(INDEX, "!?") == {}


def test_a_group_of_kinds_is_called_by_none_of_them():
    """Half of beauty is perfume: whoever searches for perfume in Arabic wants neither cream nor oud."""
    kinds = {"عطر": 6, "كريم وجه": 4, "دهن عود": 3}
    items = [(f"{kind} رقم {n}", "Beauty", f"b{n}") for kind, count in kinds.items() for n in range(count)]
    index = LexicalIndex.of([document(*item) for item in items])
    for kind in kinds:
        assert {items[row][0].split(" رقم")[0] for row in graded(index, kind)["all"]} == {kind}
    one = [(f"عطر {n}" if n % 2 else f"زجاجة {n} زهر", "Perfume", f"b{n}") for n in range(12)]
    one[1:5:2] = [(f"عطر زهر زجاجة {n}", "Perfume", f"b{n}") for n in (1, 3)]  # a word beside others is no kind
    assert len(graded(LexicalIndex.of([document(*item) for item in one]), "عطر")["all"]) == 12


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("smartphnoe mini", 2),
        ("samrtphone mini", 2),
        ("smartphone min", 2),
        ("smartphone minni", 2),
        ("هاتق قمر ميني", 3),
        ("هاتف قمرر ميني", 3),
        ("هاتف قمر مين", 3),
        ("perfume clasic", 9),
    ],
)
def test_one_edit_a_dropped_or_doubled_letter_a_beginning(text, row):
    match = INDEX.match(text)
    assert match.rows[match.order[0]] == row
    assert match.grade.max() >= RELEVANCE_GRADES["nearly"]


def test_a_number_has_no_near_spelling_and_a_known_word_none_either():
    assert graded(INDEX, "129") == {}
    assert "nearly" not in graded(INDEX, "classic")


def test_stop_words_need_no_answer():
    assert graded(INDEX, "the smartphone with mini")["all"] == [2]
    assert graded(INDEX, "عطر من شمس")["all"] == [6]


def test_further_text_answers_nearly():
    index = index_of(("Case", "cases", "Shams", "fits every smartphone of Najm"))
    assert 12 in graded(index, "case")["name"]
    assert 12 in graded(index, "case smartphone")["nearly"]
    assert 12 not in graded(index, "smartphone")["all"]


def test_weights_of_later_documents_are_those_of_bm25s():
    """The same documents as a collection, weighed by bm25s, and as later ones of that collection."""
    documents = [document(*item, "some text of", item[2]) for item in ITEMS]
    index = LexicalIndex.of(documents)
    postings, number = index._postings, index._number
    later = further_postings(dict(enumerate(documents)), number, index._statistics)
    np.testing.assert_array_equal(later.start, postings.start)
    np.testing.assert_array_equal(later.rows, postings.rows)
    np.testing.assert_array_equal(later.strong, postings.strong)
    np.testing.assert_allclose(later.weights, postings.weights, rtol=1e-5)


def test_changed_new_and_removed_documents_are_searched_at_once():
    index = index_of()
    index.upsert({2: document("Rimal Tablet", "tablets", "Rimal"), 12: document("هاتف رمال", "smartphones", "Rimal")})
    assert graded(index, "rimal tablet")["name"] == [2]
    assert 2 not in [row for rows in graded(index, "smartphone mini").values() for row in rows]
    assert graded(index, "هاتف رمال")["name"] == [12]
    assert 12 in graded(index, "smartphone")["all"]
    assert 12 in graded(index, "هاتف")["all"]
    assert graded(index, "tablte") == {"nearly": [2]}
    index.upsert({2: None, 12: document("Tent", "camping", "Rimal")})
    assert graded(index, "tablet") == {}
    assert graded(index, "tent")["name"] == [12]
    assert index.rows == 13


def test_a_compound_is_one_word_or_two():
    tops = [("Red T-Shirt", "tops", "Najm"), ("Blue Tshirt", "tops", "Qamar"), ("Shirt T", "tops", "Qamar")]
    names = [("بخور عبد الله", "incense", "Shams"), ("عطر عبدالله", "perfume", "Shams")]
    index = index_of(*tops, *names, ("Smart Phone Holder", "holders", "Shams"))
    for text in ("tshirt", "t-shirt", "T shirt"):
        assert set(graded(index, text)["all"]) - {14} == {12, 13}
    assert 14 not in graded(index, "tshirt")["all"]  # its words are no compound: they stand the other way round
    assert graded(index, "red tshirt")["name"] == [12]
    assert graded(index, "blue t-shirt")["name"] == [13]
    for text in ("عبدالله", "عبد الله", "عبداللّٰه"):
        assert set(graded(index, text)["all"]) == {15, 16}
    assert set(graded(index, "smart phone")["all"]) == {0, 1, 2, 3, 4, 5, 17}
    assert set(graded(index, "smartphone")["all"]) == {0, 1, 2, 3, 4, 5, 17}
    assert 17 in graded(index_of(*tops, *names, ("Hand Bags", "bags", "Shams")), "handbag")["all"]  # in any ending
    apart, joined = index_of(tops[0], names[0]), index_of(tops[1], names[1])
    assert [graded(apart, text)["all"] for text in ("tshirt", "عبدالله")] == [[12], [13]]
    assert [graded(joined, text)["all"] for text in ("t shirt", "عبد الله")] == [[12], [13]]


def test_changes_one_by_one_answer_as_all_at_once_and_each_document_is_written_few_times():
    rng = np.random.default_rng(0)
    one_by_one, written = index_of(), 0
    state = {}
    for number in range(200):
        row = int(rng.integers(0, 60))
        name, category, brand = ITEMS[rng.integers(len(ITEMS))]
        state[row] = None if rng.random() < 0.2 else document(f"{name} {number % 7}", category, brand)
        one_by_one.upsert({row: state[row]})
        written += len(one_by_one._later[-1].documents)
    at_once = index_of()
    at_once.upsert(state)
    for text in ("هاتف", "smartphone mini", "zzzz", "perfume 3", "Handbag", "smart phone", "najm perfume classic 4"):
        one, other = one_by_one.match(text), at_once.match(text)
        for column in ("rows", "score", "coverage", "grade"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
    assert len(one_by_one._later) <= 2 * np.log2(60)
    assert written <= 200 * 2 * np.log2(200)


def test_saved_without_pickle_and_loaded_it_answers_the_same(tmp_path):
    INDEX.save(tmp_path / "lexical")
    assert sorted(path.suffix for path in (tmp_path / "lexical").iterdir()) == [".json", ".npz"]
    loaded = LexicalIndex.load(tmp_path / "lexical")
    for text in ("هاتف", "smartphnoe mini", "zzzz", "هاتف نجم", "Handbag"):
        one, other = loaded.match(text), INDEX.match(text)
        for column in ("rows", "score", "coverage", "grade", "rank"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


def test_an_empty_catalogue_answers_nothing():
    assert graded(LexicalIndex.of([]), "smartphone") == {}
    assert graded(LexicalIndex.of([Document.of(None, groups=[])]), "smartphone") == {}
