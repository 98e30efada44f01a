"""deploy/kubernetes: what kustomize makes is valid by Kubernetes' own schema, and says to the program what it knows."""

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from program import parsed, routes, variables

from serving.gunicorn_settings import graceful_timeout

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
LIVE = ("production", "production_gathered")
OVERLAYS = ("trial", *LIVE)
VERSIONS = ("1.30", "1.37")  # the oldest and newest that the manifests are held against
JOBS = ("train", "tune", "watch")

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which has kustomize, is not here")


@cache
def manifests(overlay):
    built = subprocess.run(["kubectl", "kustomize", FOLDER / overlay], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def of_kind(overlay, kind):
    return [one for one in manifests(overlay) if one["kind"] == kind]


def pods(overlay):
    """{name: the specification of its pods}."""
    rows = {}
    for one in manifests(overlay):
        if one["kind"] in {"StatefulSet", "Deployment"}:
            rows[one["metadata"]["name"]] = one["spec"]["template"]
        elif one["kind"] == "CronJob":
            rows[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]
    return rows


def command(container):
    """The words that the program gets, of a shell's line too."""
    if "command" not in container:
        return container["args"]
    (line,) = container["args"]
    words = shlex.split(re.sub(r"\$\([^)]*\)", "DATE", line))
    return words[words.index("value-model") + 1 :]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(overlay, version):
    for one in manifests(overlay):
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_command_is_one_of_the_program_and_its_paths_are_mounted(overlay):
    for name, pod in pods(overlay).items():
        (container,) = pod["spec"]["containers"]
        environment = {row["name"]: row.get("value", "clickhouse://host/log") for row in container.get("env", [])}
        words, put = command(container), {"LOG", "REDIS"} & set(environment)
        for secret in put:
            named = re.compile(rf"\$\({secret}\)|\${secret}\b")
            words = [named.sub(environment[secret], word) for word in words]
        values = parsed(words, environment)
        mounts = {row["mountPath"]: row for row in container["volumeMounts"]}
        for path in [value for value in values.values() if isinstance(value, Path)]:
            assert any(path.is_relative_to(mount) for mount in mounts), (name, path)
        assert set(environment) - put <= variables(words)
        for value in environment.values():
            assert not value.startswith("/") or any(Path(value).is_relative_to(mount) for mount in mounts)
        volumes = {row["name"] for row in pod["spec"]["volumes"]}
        volumes |= {"log"} if name == "value-model" else set()
        assert {row["name"] for row in mounts.values()} == volumes
        whole = "whole" in container["image"].split("/")[-1]
        assert whole == any(name.endswith(job) for job in JOBS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined_and_no_secret_stands_in_the_manifests(overlay):
    assert of_kind(overlay, "Secret") == []
    for pod in pods(overlay).values():
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == container["resources"].keys()
        assert "/tmp" in {row["mountPath"] for row in container["volumeMounts"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_routes_of_the_service_and_it_may_drain(overlay):
    pod = pods(overlay)["value-model"]["spec"]
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert parsed(command(container))["port"] == port["containerPort"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[name]["httpGet"]["port"] == port["name"]
        assert container[name]["httpGet"]["path"] in routes()
    assert pods(overlay)["value-model"]["metadata"]["annotations"]["prometheus.io/path"] in routes()
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > graceful_timeout + before


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_that_they_mean(overlay):
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(overlay).items()}
    for one in of_kind(overlay, "Service"):
        assert one["spec"]["selector"].items() <= labels["value-model"].items()
        (port,) = one["spec"]["ports"]
        assert port["targetPort"] == "http"
    for kind in ("StatefulSet", "Deployment", "PodDisruptionBudget"):
        for one in of_kind(overlay, kind):
            assert one["spec"]["selector"]["matchLabels"].items() <= labels[one["metadata"]["name"]].items()
    (stateful,) = of_kind(overlay, "StatefulSet")
    assert stateful["spec"]["serviceName"] in {one["metadata"]["name"] for one in of_kind(overlay, "Service")}


@pytest.mark.parametrize("overlay", LIVE)
def test_several_pods_scale_and_are_not_all_drained_at_once(overlay):
    (scaler,) = of_kind(overlay, "HorizontalPodAutoscaler")
    (stateful,) = of_kind(overlay, "StatefulSet")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (stateful["kind"], stateful["metadata"]["name"])
    assert 1 < scaler["spec"]["minReplicas"] == stateful["spec"]["replicas"] < scaler["spec"]["maxReplicas"]
    assert of_kind(overlay, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1
    assert of_kind("trial", "HorizontalPodAutoscaler") == of_kind("trial", "PodDisruptionBudget") == []


@pytest.mark.parametrize("overlay", LIVE)
def test_every_pod_of_production_has_a_network_policy_that_lets_it_do_its_work(overlay):
    for name, pod in pods(overlay).items():
        ports = set()
        for policy in of_kind(overlay, "NetworkPolicy"):
            if matches(policy["spec"]["podSelector"], pod["metadata"]["labels"]):
                ports |= {row["port"] for rule in policy["spec"]["egress"] for row in rule["ports"]}
        (container,) = pod["spec"]["containers"]
        mounts = {row["mountPath"] for row in container["volumeMounts"]}
        environment = {row["name"] for row in container.get("env", [])}
        assert 53 in ports
        assert ("/run/secrets/live-plane" in mounts) <= (9092 in ports), name
        assert bool(environment & {"LOG", "VALUE_MODEL_INTO"}) <= (8123 in ports), name
        assert bool(environment & {"REDIS", "VALUE_MODEL_FEATURES"}) == (6379 in ports), name


def test_where_a_shopper_may_go_to_any_pod_one_process_gathers_what_all_of_them_share():
    service, gather, consume = (
        pods("production_gathered")[name]["spec"]["containers"][0]
        for name in ("value-model", "value-model-gather", "value-model-consume")
    )
    redis = {"secretKeyRef": {"name": "value-model-redis", "key": "url"}}
    served, gathered = ({row["name"]: row for row in one["env"]} for one in (service, gather))
    assert served["VALUE_MODEL_GATHERED"]["value"] == "1"
    assert served["VALUE_MODEL_FEATURES"]["valueFrom"] == gathered["REDIS"]["valueFrom"] == redis
    values = parsed(command(gather), {"VALUE_MODEL_KAFKA": "host", "VALUE_MODEL_INTO": "all.sqlite"})
    assert values["features"] == "$(REDIS)"
    assert str(values["run"]) == command(service)[1]
    assert (
        values["group"] != parsed(command(consume), {"VALUE_MODEL_KAFKA": "host", "VALUE_MODEL_INTO": "log"})["group"]
    )
    (gatherer,) = (one for one in of_kind("production_gathered", "Deployment") if "gather" in one["metadata"]["name"])
    assert (gatherer["spec"]["replicas"], gatherer["spec"]["strategy"]) == (1, {"type": "Recreate"})
    affinity = {
        overlay: [one["spec"].get("sessionAffinity") for one in of_kind(overlay, "Service")] for overlay in LIVE
    }
    assert affinity == {"production": ["ClientIP", None], "production_gathered": [None, None]}


def matches(selector, labels):
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(row["key"]) in row["values"] for row in expressions
    )
