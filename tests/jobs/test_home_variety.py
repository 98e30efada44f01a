"""How many shoppers get the same item, and the alarm of it."""

from evaluation.report import add_served
from jobs.home_variety import variety_of


def test_the_share_is_of_the_shoppers_that_get_the_commonest_item():
    variety = variety_of([["a", "b"], ["a", "c"], ["d", "a"], ["e", "f"]])
    assert (variety.shoppers, variety.item_id, variety.share, variety.items) == (4, "a", 0.75, 6)
    assert variety.alarm(0.75) is None
    assert variety.alarm(0.7).startswith("ALARM: 75% of shoppers get a among the first 10 of home, more than 70%")


def test_pages_without_items_have_a_share_of_nothing():
    assert variety_of([[], []]).share == 0


def test_the_report_says_what_the_newest_bundle_serves(tmp_path):
    page = tmp_path / "report.html"
    page.write_text('<h1>title</h1><section id="served"></section><p>rest</p>')
    add_served(page, ["first & foremost"])
    add_served(page, ["second <b>"])
    assert page.read_text() == '<h1>title</h1><section id="served"><p>second &lt;b&gt;</p></section><p>rest</p>'
