"""deploy/compose.yaml: read by Compose itself, and held against the program for which it makes the settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from program import parsed, routes, variables

from marketplace.kafka.client import Brokers
from marketplace.log_place import is_address
from serving.gunicorn_settings import graceful_timeout

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTINGS = {"CLICKHOUSE_PASSWORD": "secret", "GRAFANA_PASSWORD": "secret", "VALUE_MODEL_KEYS_FILE": "keys.toml"}
PORTS = {"redis": 6379, "kafka": 9092, "clickhouse": 8123, "prometheus": 9090, "grafana": 3000, "textfiles": 9100}
MOUNTED = "/models"  # where the exported models.config says that models are
CLIENT = Path(sys.executable).with_name("docker-compose")


def config(settings):
    command = [CLIENT, "--file", DEPLOY / "compose.yaml", "config", "--format", "json"]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **settings}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def composed():
    answer = config(SETTINGS)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def ours(composed):
    """The services that run this program."""
    return {name: one for name, one in composed["services"].items() if one["image"].startswith("value-model")}


@pytest.mark.parametrize("missing", SETTINGS)
def test_nothing_starts_without_the_secrets_that_it_needs(missing):
    answer = config({name: value for name, value in SETTINGS.items() if name != missing})
    assert answer.returncode != 0
    assert f"required variable {missing}" in answer.stderr


def test_every_command_is_one_of_the_program_and_writes_where_a_volume_is(ours):
    for one in ours.values():
        values = parsed(one["command"], one.get("environment", {}))
        volumes = {row["target"]: row for row in one.get("volumes", [])}
        for path in [value for value in values.values() if isinstance(value, Path)]:
            assert any(path.is_relative_to(target) for target in volumes), path
        assert set(one.get("environment", {})) <= variables(one["command"])


def test_every_container_of_ours_is_confined(ours):
    for one in ours.values():
        assert one["init"] is one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["tmpfs"] == ["/tmp"]
        assert one["build"]["target"] in {"serving", "whole"}
        assert ("whole" in one["image"]) == (one["build"]["target"] == "whole")


def test_models_are_only_read_by_the_programs_of_others(composed):
    for name, one in composed["services"].items():
        rows = [row for row in one.get("volumes", []) if row["source"] in {"market", "models"}]
        assert all(row.get("read_only") for row in rows) or one["image"].startswith("value-model")
        assert rows or name not in {"tf-serving", "textfiles"}


def test_the_service_listens_where_it_is_asked_and_is_stopped_in_time(ours):
    service = ours["service"]
    port = parsed(service["command"])["port"]
    assert [row["target"] for row in service["ports"]] == [port]
    (path,) = re.findall(rf"http://127\.0\.0\.1:{port}(/\w+)", service["healthcheck"]["test"][-1])
    assert path in routes()
    assert service["environment"]["VALUE_MODEL_KEYS_FILE"] == service["secrets"][0]["target"]
    assert service["stop_grace_period"] == "45s"
    assert graceful_timeout < 45


def test_nothing_is_open_to_the_network_of_the_machine(composed):
    for one in composed["services"].values():
        assert all(row["host_ip"] == "127.0.0.1" for row in one.get("ports", []))


def test_addresses_lead_to_services_of_the_file(composed, ours):
    for one in ours.values():
        settings = one.get("environment", {})
        if kafka := settings.get("VALUE_MODEL_KAFKA"):
            assert Brokers.of(kafka).settings["bootstrap.servers"] == f"kafka:{PORTS['kafka']}"
        for name in ("VALUE_MODEL_FEATURES", "VALUE_MODEL_INTO"):
            if address := settings.get(name):
                assert is_address(address)
                place = urlsplit(address)
                assert place.hostname in composed["services"]
                assert place.port == PORTS[place.hostname]
    clickhouse = composed["services"]["clickhouse"]["environment"]
    place = urlsplit(ours["consume"]["environment"]["VALUE_MODEL_INTO"])
    assert (place.username, place.password) == (clickhouse["CLICKHOUSE_USER"], clickhouse["CLICKHOUSE_PASSWORD"])
    assert place.path == f"/{clickhouse['CLICKHOUSE_DB']}"


def test_prometheus_scrapes_what_there_is_and_reads_the_rules(composed):
    settings = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    services = composed["services"]
    rows = [row for job in settings["scrape_configs"] for row in job["static_configs"]]
    targets = {target for row in rows for target in row["targets"]}
    port = parsed(services["service"]["command"])["port"]
    assert targets == {f"service:{port}", f"textfiles:{PORTS['textfiles']}"}
    assert "/metrics" in routes()
    mounted = {row["target"]: Path(row["source"]) for row in services["prometheus"]["volumes"] if row["type"] == "bind"}
    for name in settings["rule_files"]:
        assert mounted[f"/etc/prometheus/{name}"].is_file()
    watched = parsed(services["watch"]["command"])["folder"]
    assert f"--collector.textfile.directory={watched}/watch" in services["textfiles"]["command"]


def test_grafana_finds_prometheus_and_the_dashboard(composed):
    grafana = composed["services"]["grafana"]
    (source,) = yaml.safe_load(composed["configs"]["datasource"]["content"])["datasources"]
    assert source["url"] == f"http://prometheus:{PORTS['prometheus']}"
    (provider,) = yaml.safe_load(composed["configs"]["dashboards"]["content"])["providers"]
    (board,) = [row for row in grafana["volumes"] if row["type"] == "bind"]
    assert Path(board["target"]).parent == Path(provider["options"]["path"])
    assert Path(board["source"]).is_file()


def test_the_model_server_follows_the_models_of_what_serves(composed, ours):
    values = parsed(ours["models"]["command"])
    assert values["every"] is not None
    assert values["folder"] == parsed(ours["service"]["command"])["folder"]
    (written,) = [row for row in ours["models"]["volumes"] if row["target"] == str(values["tf_serving"])]
    (read,) = composed["services"]["tf-serving"]["volumes"]
    assert (read["source"], read["target"]) == (written["source"], MOUNTED)
    words = composed["services"]["tf-serving"]["command"]
    flags = dict(word.removeprefix("--").split("=") for word in words if "=" in word)
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0
    assert ours["models"]["healthcheck"]["test"][-1] == f"{values['tf_serving']}/models.config"
    assert flags["model_config_file"] == f"{MOUNTED}/models.config"
    assert flags["batching_parameters_file"] == f"{MOUNTED}/batching_parameters.txt"
