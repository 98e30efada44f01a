"""What the check says of a shop's further columns, and that a run says the same before it trains."""

import pytest
from made_shop import MAPPING, shop_rows, write_shop

import jobs.run
from jobs.check import run_check
from jobs.config import RunConfig
from marketplace.finding import DataError, errors


@pytest.fixture
def shop(tmp_path):
    """A function that writes the shop, with columns of the impressions beside it, and gives the mapping's path."""

    def write(further: str, **columns):
        files = shop_rows(80)
        shown = files["impressions.csv"]
        clicked = {(row[1], row[5]) for row in files["events.csv"] if row[2] == "click"}
        shown[0] += columns
        for row in shown[1:]:
            happened = (row[0], row[3]) in clicked
            row += [str(column(happened, row)) for column in columns.values()]
        context = 'context = { country = "country" }\n'
        return write_shop(tmp_path, files, mapping=MAPPING.replace(context, context + further))

    return write


def data_stage(path, folder, monkeypatch, capsys) -> str:
    """What a run prints of its data."""
    monkeypatch.setattr(jobs.run, "STAGES", {"data": jobs.run.data})
    jobs.run.run_all(RunConfig(data=str(path)), folder)
    return capsys.readouterr().out


def test_an_echo_of_the_label_is_warned_of_by_the_check_and_the_run(shop, tmp_path, monkeypatch, capsys):
    numbers = 'numeric = { paid = "paid", width = "width" }\ncategorical = { state = "state" }\n'
    path = shop(
        numbers,
        paid=lambda happened, row: 15.5 if happened else "",
        width=lambda happened, row: int(row[3][1:]) % 3,
        state=lambda happened, row: "opened" if happened else "closed",
    )
    echoes = [finding for finding in run_check(path).findings if finding.rule == "echo"]
    assert [finding.reason.split("'")[1] for finding in echoes] == ["paid", "state"]
    assert all("alone tells click from no click (AUC 1.000)" in finding.reason for finding in echoes)
    said = data_stage(path, tmp_path / "run", monkeypatch, capsys)
    assert all(str(finding) in said for finding in echoes)
    path.write_text(path.read_text().replace('currency = "SAR"', 'currency = "SAR"\nignore = ["paid", "state"]'))
    assert not [finding for finding in run_check(path).findings if finding.rule == "echo"]


def test_a_name_of_a_standard_feature_is_refused_by_the_check_and_the_run(shop, tmp_path, monkeypatch, capsys):
    path = shop('numeric = { price = "paid" }\n', paid=lambda happened, row: 3.5 + len(row[3]) + int(row[4]))
    (finding,) = errors(run_check(path).findings)
    assert "shop_price" in finding.fix
    with pytest.raises(DataError, match="shop_price"):
        data_stage(path, tmp_path / "run", monkeypatch, capsys)


def test_columns_that_no_line_of_the_mapping_uses_are_listed(shop, tmp_path, monkeypatch, capsys):
    path = shop("", ean=lambda happened, row: 4, **{"slot number": lambda happened, row: row[4]})
    note = "Columns of impressions.csv that the mapping does not use: ean, slot number."
    assert note in run_check(path).dataset.notes
    assert note in data_stage(path, tmp_path / "run", monkeypatch, capsys)
