"""A log is named by its file or by an address; what belongs to it stands beside it, or where the address says."""

from pathlib import Path

import pytest

from marketplace.log_place import home_of, is_log, may_exist, shown_place
from marketplace.open_log import open_log


@pytest.mark.parametrize(
    "place", ["runs/first/log.sqlite", Path("log.sqlite"), "chdb:///log", "clickhouse://host/shop"]
)
def test_a_file_and_an_address_name_a_log(place):
    assert is_log(place)


@pytest.mark.parametrize("place", ["runs/first", "simulated", Path("shop.toml")])
def test_a_folder_and_a_data_set_name_none(place):
    assert not is_log(place)


def test_a_file_and_a_folder_tell_that_they_are_not_there(tmp_path):
    assert may_exist("clickhouse://anywhere")
    assert may_exist(f"chdb://{tmp_path}")
    assert not may_exist(f"chdb://{tmp_path}/log")
    assert not may_exist(tmp_path / "log.sqlite")


def test_the_run_of_a_log_stands_beside_it_or_is_named_by_the_address():
    assert home_of("runs/first/log.sqlite") == Path("runs/first")
    assert home_of("chdb:///runs/first/log") == Path("/runs/first")
    assert home_of("clickhouse://host/market?run=runs/second") == Path("runs/second")
    with pytest.raises(ValueError, match=r"does not say which run .* add \?run=FOLDER"):
        home_of("clickhouse://host/market")


def test_a_password_is_never_shown():
    assert shown_place("clickhouse://reader:secret@host:8123/market") == "clickhouse://reader@host:8123/market"


def test_a_system_that_keeps_no_log_is_refused():
    with pytest.raises(ValueError, match=r"floppy://a: no log is kept in 'floppy'\. Name an SQLite file"):
        open_log("floppy://a")
