"""The report: complete, offline, readable without the pictures; light to import."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluation import bootstrap, plots
from evaluation.compare import Comparison
from evaluation.curves import calibration_curve, position_curve
from evaluation.estimate import Estimate
from evaluation.report import build_report, to_html, write_report
from evaluation.summary import summary


def shown(rng, *, requests=200, items=8, clicks=True):
    offsets = np.arange(0, (requests + 1) * items, items)
    n = requests * items
    position = np.tile(np.arange(1, items + 1), requests)
    ctr = rng.beta(1, 4, n) / position**0.5
    click = (rng.random(n) < ctr).astype(float)
    order = click * (rng.random(n) < 0.4)
    price = np.exp(rng.normal(3, 1, n))
    heads = {"ctr": ctr, "cvr": np.full(n, 0.4), "ctcvr": ctr * 0.4, "order_value": price, "gmv": ctr * 0.4 * price}
    labels = {"order": order, "order_value": order * price} | ({"click": click} if clicks else {})
    return heads, labels, offsets, position


def test_the_summary_says_in_few_lines_what_the_tables_do():
    """Figures worked out by hand from the estimates that stand in the comparison."""
    ratio = {"ctr.calibration_ratio": Estimate(1.3, 1.2, 1.4, 9), "gmv.calibration_ratio": Estimate(0.95, 0.8, 1.2, 9)}
    fair = {"ctr.calibration_ratio": Estimate(1.05, 0.98, 1.12, 9)}
    served = {"value.gmv@10": Estimate(41.25, 38, 45, 9), "value.clicks@10": Estimate(1.5, 1, 2, 9)}
    behind = {"value.gmv@10": Estimate(-5.5, -9.0, 1.0, 9)}
    lines = summary(
        Comparison("trees", {"trees": served}, {"popularity": behind, "as recorded": behind}),
        {"home": Comparison("trees", {"trees": fair}, {}), "search": Comparison("trees", {"trees": ratio}, {})},
        ranked="7 requests",
        ahead={"network": Estimate(0.051, 0.01, 0.09, 9)},
        policy="default",
        currency="SAR",
        k=10,
        cohorts={
            "new shoppers (2 rows)": Comparison("trees", {"trees": {"ctr.auc": Estimate(0.1, 0.1, 0.2, 9)}}, {}),
            "new items (3 rows)": Comparison("trees", {"trees": {"ctr.auc": Estimate(0.5, 0.4, 0.6, 9)}}, {}),
            "known items (7 rows)": Comparison("trees", {"trees": {"ctr.auc": Estimate(0.8, 0.7, 0.9, 9)}}, {}),
            "new merchants (1 rows)": Comparison("trees", {"trees": {"ctr.auc": Estimate(np.nan, 0, 0, 9)}}, {}),
            "known merchants (9 rows)": Comparison("trees", {"trees": {"ctr.auc": Estimate(0.75, 0.6, 0.9, 9)}}, {}),
        },
        warnings=("short lists",),
    )
    assert lines == (
        "What was ranked: 7 requests.",
        "Who ranks: trees is served; it is ahead of network by 5.1% [1.0%, 9.0%].",
        "Predictions: over heads and surfaces 1 of 3 are surely off by more than 10%; the farthest is ctr on search, "
        "1.3 [1.2, 1.4] times what happened.",
        "For whom: the AUC of ctr is 0.1 [0.1, 0.2] on new shoppers (2 rows), 0.5 [0.4, 0.6] on new items (3 rows), "
        "0.8 [0.7, 0.9] on known items (7 rows), 0.75 [0.6, 0.9] on known merchants (9 rows).",
        "What default brings: 41.25 SAR of sales in the first 10 of a request; +5.5 [-1, +9] against popularity, "
        "+5.5 [-1, +9] against the order as recorded, which is judged by its own places.",
        "What to look at next: the calibration of ctr on search; the AUC of ctr on new items (3 rows); "
        "why default does not surely beat popularity; short lists.",
    )
    assert (
        "stands out"
        in summary(
            Comparison("trees", {"trees": {}}, {}),
            {},
            ranked="7 requests",
            ahead={},
            policy="default",
            currency="SAR",
            k=10,
        )[-1]
    )


def report_of(rng, *, clicks=True):
    heads, labels, offsets, position = shown(rng, clicks=clicks)
    models = {"<b>baseline</b>": {name: np.full(len(p), p.mean()) for name, p in heads.items()}, "model": heads}
    surface = np.where(np.arange(len(offsets) - 1) % 2, "home", "search")
    return build_report(
        models,
        labels,
        offsets,
        title="A run",
        baseline="<b>baseline</b>",
        rng=rng,
        currency="SAR",
        position=position,
        slices={"surface": surface},
        cohorts={"new items": np.arange(offsets[-1]) % 8 == 0, "known items": np.arange(offsets[-1]) % 8 > 0},
        facts={"seed": "1"},
        notes=["the click head is young"],
    )


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def report():
    return report_of(np.random.default_rng(0))


def test_the_page_stands_alone_and_is_readable_without_pictures(report, tmp_path):
    page = write_report(report, tmp_path).read_text()
    tags = Page(page).tags
    assert not [attrs for _, attrs in tags if re.match(r"(https?:)?//", attrs.get("src", attrs.get("href", "")))]
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe")]
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(images) == len(list((tmp_path / "plots").glob("*.svg"))) > 8
    assert all(attrs["alt"] for attrs in images)
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")
    for text in (
        "calibration_ratio",
        "ndcg@10",
        "home",
        "search",
        "new items (200 rows)",
        "the click head is young",
        "▲ better",
    ):
        assert text in page
    assert "<b>baseline</b>" not in page


@pytest.mark.slow
@pytest.mark.parametrize("clicks", [[], [3], [0, 3, 5], range(8)], ids=str)
@pytest.mark.filterwarnings("error")
def test_no_warning_leaks_from_lists_that_say_little(clicks):
    """No click, one, those of one shopper, nothing else: what is not defined is NaN, without a word from NumPy."""
    label = np.isin(np.arange(8), list(clicks)).astype(np.float32)
    labels = {"click": label, "order": label, "order_value": 10 * label}
    heads = {"ctr": np.full(8, 0.3), "cvr": np.linspace(0.1, 0.4, 8), "ctcvr": np.linspace(0.01, 0.2, 8)}
    models = {"a": heads | {"order_value": np.full(8, 5.0), "gmv": heads["ctcvr"] * 5, "value": heads["cvr"]}}
    report = build_report(
        models,
        labels,
        np.array([0, 4, 8]),
        title="few",
        baseline="a",
        rng=np.random.default_rng(0),
        currency="SAR",
        position=np.tile(np.arange(1, 5), 2),
        slices={"surface": np.array(["home", "search"])},
        shopper=np.array(["one", "one"]),
    )
    assert "few" in to_html(report)


def test_every_model_metric_is_in_the_table(report):
    page = to_html(report)
    for name in report.comparison.metrics["model"]:
        assert name.split(".", 1)[1] in page


def test_purchase_only_data_has_no_click_curves():
    report = report_of(np.random.default_rng(2), clicks=False)
    names = {plot.name for plot in report.plots}
    assert "calibration_ctcvr" in names
    assert not names & {"calibration_ctr", "calibration_cvr"}
    assert set(next(plot for plot in report.plots if plot.name == "position").curves) == {"order"}


def test_curves_hold_the_true_rates():
    rng = np.random.default_rng(3)
    heads, labels, offsets, position = shown(rng, requests=2000)
    samples = bootstrap.resample(2000, rng)
    calibration = calibration_curve(heads["ctr"], labels["click"], offsets, samples=samples)
    assert ((calibration.low <= calibration.x) & (calibration.x <= calibration.high)).mean() > 0.7
    assert calibration.rows.sum() == len(labels["click"])
    positions = position_curve(labels["click"], position, offsets, samples=samples)
    np.testing.assert_array_equal(positions.x, np.arange(1, 9))
    expected = [labels["click"][position == p].mean() for p in range(1, 9)]
    np.testing.assert_allclose(positions.y, expected, atol=1e-12)


@pytest.mark.parametrize("module", ["evaluation.report", "evaluation.compare"])
def test_importing_stays_light(module):
    heavy = ("tensorflow", "matplotlib", "pandas", "jinja2", "plotly")
    check = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_front_points_from_what_it_beats_to_what_beats_it():
    def point(x, y, colour):
        return tuple(Estimate(v, v - 0.1, v + 0.2, 9) for v in (x, y, colour))

    best = point(2, 7, 5)
    figure = plots.front([point(1, 8, 3), best], {"alone": (point(1.5, 6, 4), best)}, labels=("a", "b", "c"))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["front", "alone"]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[1, 8], [2, 7]])
    (arrow,) = axes.texts
    assert (arrow.xyann, arrow.xy) == ((1.5, 6), (2, 7))
    crosses = [tuple(line.get_xdata()) for line in axes.lines]
    assert crosses == [(1.4, 1.7), (1.5, 1.5), (1.9, 2.2), (2, 2)]
