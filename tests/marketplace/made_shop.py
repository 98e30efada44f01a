"""A small shop in files, as docs/own_data.md has it, and ways to spoil them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

MAPPING = """
name = "shop"
currency = "SAR"
time_zone = "Asia/Riyadh"
[items]
file = "products.csv"
columns = { item_id = "sku", merchant_id = "seller", price = "price", name = "title", category = "category" }
[merchants]
file = "sellers.csv"
columns = { merchant_id = "seller", commission_rate = "commission" }
[slates]
file = "impressions.csv"
columns = { request_id = "request", time = "at", user_id = "customer", item_id = "sku", position = "slot" }
constants = { surface = "home" }
context = { country = "country" }
[feedback]
file = "events.csv"
columns = { feedback_id = "id", request_id = "request", event = "kind", time = "at", user_id = "customer", \
item_id = "sku", amount = "total" }
events = { purchase = "order" }
"""
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
Rows = list[list[str]]  # of a file, the header first
Mutation = Callable[[Rows, np.random.Generator], Rows]


def shop_rows(requests: int = 40, *, seed: int = 0) -> dict[str, Rows]:
    """The files' rows: every request shows 3 of 8 items; clicks on the first, and orders of every second click."""
    rng = np.random.default_rng(seed)
    products = [[f"p{i}", f"s{i % 2}", str(10 + i), f"عطر {i}", f"c{i % 3}"] for i in range(8)]
    impressions, events = [], []
    for r in range(requests):
        time, shown = START + timedelta(hours=7 * r, seconds=13), rng.choice(8, 3, replace=False)
        for place, item in enumerate(shown.tolist(), 1):
            impressions.append([f"r{r}", f"{time:%Y-%m-%d %H:%M:%S}", f"u{r % 9}", f"p{item}", str(place), "SA"])
        kinds = ("click", "purchase") if r % 2 else ("click",)
        for delay, kind in enumerate(kinds, 1):
            at, paid = time + timedelta(seconds=20 * delay), "" if kind == "click" else "15.5"
            events.append(
                [f"e{r}.{delay}", f"r{r}", kind, f"{at:%Y-%m-%d %H:%M:%S}", f"u{r % 9}", f"p{shown[0]}", paid]
            )
    return {
        "products.csv": [["sku", "seller", "price", "title", "category"], *products],
        "sellers.csv": [["seller", "commission"], ["s0", "0.1"], ["s1", "0.05"]],
        "impressions.csv": [["request", "at", "customer", "sku", "slot", "country"], *impressions],
        "events.csv": [["id", "request", "kind", "at", "customer", "sku", "total"], *events],
    }


def write_shop(folder: Path, files: dict[str, Rows], *, mapping: str = MAPPING) -> Path:
    """The files and their mapping; the mapping's path."""
    for name, rows in files.items():
        (folder / name).write_text(text_of(rows), "utf-8")
    (folder / "mapping.toml").write_text(mapping, "utf-8")
    return folder / "mapping.toml"


def text_of(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _column(change: Callable[[str, np.random.Generator], str], *, every: bool = True) -> Mutation:
    """`change` of one column's cells, of all or of some."""

    def mutation(rows: Rows, rng: np.random.Generator) -> Rows:
        place = rng.integers(len(rows[0]))
        touched = rng.random(len(rows)) < (1 if every else 0.2)
        return [rows[0]] + [
            [change(cell, rng) if j == place and touched[i] else cell for j, cell in enumerate(row)]
            for i, row in enumerate(rows[1:], 1)
        ]

    return mutation


def _without_column(rows: Rows, rng: np.random.Generator) -> Rows:
    place = rng.integers(len(rows[0]))
    return [row[:place] + row[place + 1 :] for row in rows]


def _column_order(rows: Rows, rng: np.random.Generator) -> Rows:
    order = rng.permutation(len(rows[0])).tolist()
    return [[row[j] for j in order] for row in rows]


def _twin_column(rows: Rows, rng: np.random.Generator) -> Rows:
    place = rng.integers(len(rows[0]))
    return [[*row, row[place]] for row in rows]


def _swapped_cells(rows: Rows, rng: np.random.Generator) -> Rows:
    first, second = rng.integers(len(rows[0]), size=2)
    return [rows[0]] + [[*row[:first], row[second], *row[first + 1 :]] for row in rows[1:]]


def _row_order(rows: Rows, rng: np.random.Generator) -> Rows:
    return [rows[0], *(rows[1:][i] for i in rng.permutation(len(rows) - 1))]


def _repeats(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows + [rows[1:][i] for i in rng.integers(len(rows) - 1, size=rng.integers(1, 60))]


def _fewer(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows[: 1 + rng.integers(len(rows))]


def _ragged(rows: Rows, rng: np.random.Generator) -> Rows:
    return [row if rng.random() < 0.9 else row[: rng.integers(1, len(row) + 1)] for row in rows]


def _zone(cell: str, rng: np.random.Generator) -> str:
    return cell + str(rng.choice(["Z", "+03", "+0300", "+03:00:00", " AST", "+99:00", "-14:00"]))


WORDS = [
    "",
    "NULL",
    "nan",
    "inf",
    "-1",
    "0",
    "1e309",
    "12,5",
    "١٢",
    "true",
    "2026-13-40",
    "\x00",
    "p1",
    "u1 ",
    "9" * 40,
]
ROWS: dict[str, Mutation] = {
    "without column": _without_column,
    "column order": _column_order,
    "twin column": _twin_column,
    "swapped": _swapped_cells,
    "row order": _row_order,
    "repeats": _repeats,
    "fewer rows": _fewer,
    "ragged": _ragged,
    "decimals": _column(lambda cell, rng: f"{cell}.0"),
    "spaces": _column(lambda cell, rng: f" {cell}\u00a0"),
    "upper": _column(lambda cell, rng: cell.upper()),
    "empty": _column(lambda cell, rng: "", every=False),
    "all empty": _column(lambda cell, rng: ""),
    "words": _column(lambda cell, rng: str(rng.choice(WORDS)), every=False),
    "one word": _column(lambda cell, rng: WORDS[len(cell) % len(WORDS)]),
    "zones": _column(_zone),
    "mixed zones": _column(_zone, every=False),
    "epoch": _column(lambda cell, rng: str(1_772_000_000 + rng.integers(10**6))),
    "year": _column(lambda cell, rng: cell.replace("2026", str(rng.choice(["0001", "1969", "9999", "2199", "26"])))),
    "less one": _column(lambda cell, rng: str(int(cell) - 1) if cell.isdigit() else cell),
}
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "utf-16": lambda text: text.decode().encode("utf-16"),
    "bom": lambda text: b"\xef\xbb\xbf" + text,
    "windows-1256": lambda text: text.decode().encode("windows-1256", "replace"),
    "cut": lambda text: text[: len(text) * 2 // 3 + 1],
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "semicolons": lambda text: text.replace(b",", b";"),
    "nothing": lambda text: b"",
    "zeros": lambda text: text[:50] + bytes(20) + text[50:],
}


def spoiled_shop(folder: Path, seed: int) -> tuple[Path, list[str]]:
    """A shop with one to three mutations drawn by `seed`: the mapping's path and what was done."""
    rng = np.random.default_rng(seed)
    files, done = shop_rows(), []
    for _ in range(rng.integers(1, 4)):
        file, name = str(rng.choice(list(files))), str(rng.choice(list(ROWS)))
        if len(files[file]) > 1 and all(len(row) == len(files[file][0]) > 0 for row in files[file]):
            files[file] = ROWS[name](files[file], rng)
            done.append(f"{file}: {name}")
    path = write_shop(folder, files)
    if rng.random() < 0.25:
        file, name = str(rng.choice(list(files))), str(rng.choice(list(BYTES)))
        (folder / file).write_bytes(BYTES[name]((folder / file).read_bytes()))
        done.append(f"{file}: {name}")
    return path, done
