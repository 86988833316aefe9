"""The manifests of deploy/ agree with themselves, with our configuration and with our command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import yaml
from typer.core import TyperGroup

from agentserve.cli import app
from agentserve.cluster.section import parse_cluster
from agentserve.config import parse
from agentserve.engines.command import PLUGIN_ARGS

FOLDER = Path(__file__).parent.parent.parent / "deploy"
PLAIN, RAY = FOLDER / "kubernetes.yaml", FOLDER / "kuberay.yaml"
API = {
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "RayCluster": "ray.io/v1",
    "RayJob": "ray.io/v1",
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def find(path: Path, kind: str, name: str) -> dict[str, Any]:
    return next(each for each in documents(path) if (each["kind"], each["metadata"]["name"]) == (kind, name))


def pods(path: Path) -> list[dict[str, Any]]:
    """The templates of all pods."""
    found = []
    for each in documents(path):
        spec = each.get("spec", {})
        groups = [spec.get("headGroupSpec"), *spec.get("workerGroupSpecs", []), spec]
        found += [group["template"] for group in groups if group and "template" in group]
    return found


def words(path: Path) -> list[list[str]]:
    """Our own command lines in a manifest."""
    return [shlex.split(match) for match in re.findall(r"agentserve (?:serve|cluster) [^\n&]*", path.read_text())]


@pytest.mark.parametrize("path", [PLAIN, RAY], ids=["kubernetes", "kuberay"])
def test_every_document_has_a_kind_a_version_and_a_name_of_its_own(path: Path) -> None:
    found = [(each["kind"], each["metadata"]["name"]) for each in documents(path)]
    assert len(set(found)) == len(found)
    assert all(each["apiVersion"] == API[each["kind"]] for each in documents(path))


@pytest.mark.parametrize("path", [PLAIN, RAY], ids=["kubernetes", "kuberay"])
def test_services_find_their_pods_and_ports(path: Path) -> None:
    for service in (each for each in documents(path) if each["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        (pod,) = (each for each in pods(path) if wanted <= each.get("metadata", {}).get("labels", {}).items())
        named = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


@pytest.mark.parametrize("path", [PLAIN, RAY], ids=["kubernetes", "kuberay"])
def test_what_is_mounted_is_there(path: Path) -> None:
    for pod in pods(path):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        mounts = {mount["name"] for each in pod["spec"]["containers"] for mount in each.get("volumeMounts", [])}
        assert mounts == volumes


@pytest.mark.parametrize("path", [PLAIN, RAY], ids=["kubernetes", "kuberay"])
def test_commands_and_options_exist(path: Path) -> None:
    assert words(path)
    for _, name, *rest in words(path):
        command = cast("TyperGroup", typer.main.get_command(app)).commands[name]
        if isinstance(command, TyperGroup):
            command = command.commands[rest[0]]
        options = {option for param in command.params for option in param.opts}
        assert {word for word in rest if word.startswith("--")} <= options


def port(pod: dict[str, Any], name: str = "http") -> int:
    ports: dict[str, int] = {
        each["name"]: each["containerPort"] for c in pod["spec"]["containers"] for each in c["ports"]
    }
    return ports[name]


def test_the_gateways_configuration_is_valid_and_names_the_ports_of_the_others() -> None:
    text = find(PLAIN, "ConfigMap", "agentserve")["data"]["agentserve.yaml"].replace("POD_IP", "10.0.0.1")
    config = parse(yaml.safe_load(text))
    assert config.port == port(find(PLAIN, "Deployment", "agentserve")["spec"]["template"])
    engines = find(PLAIN, "StatefulSet", "vllm")["spec"]
    urls = [engine.url for _, engine in config.engines]
    listens = port(engines["template"])
    assert urls == [f"http://vllm-{number}.vllm:{listens}" for number in range(engines["replicas"])]
    assert f"--port={listens}" in engines["template"]["spec"]["containers"][0]["args"]
    assert config.store is not None
    redis = find(PLAIN, "Service", "agentserve-redis")
    assert config.store.redis == f"redis://{redis['metadata']['name']}:{redis['spec']['ports'][0]['port']}/0"


def test_the_engines_are_started_with_the_plugin() -> None:
    (container,) = find(PLAIN, "StatefulSet", "vllm")["spec"]["template"]["spec"]["containers"]
    given = " ".join(container["args"]).replace("=", " ").split()
    assert set(PLUGIN_ARGS) <= set(given)
    served = given[given.index("--served-model-name") + 1]
    text = find(PLAIN, "ConfigMap", "agentserve")["data"]["agentserve.yaml"]
    assert served == yaml.safe_load(text)["pools"][0]["model"]


def test_the_cluster_file_is_valid_and_the_ray_cluster_has_what_it_asks_for() -> None:
    file = parse_cluster(yaml.safe_load(find(RAY, "ConfigMap", "agentserve-cluster")["data"]["cluster.yaml"]), "file")
    cluster = find(RAY, "RayCluster", "agentserve")["spec"]
    assert file.gateway.port == port(cluster["headGroupSpec"]["template"])
    for name in file.gateway.resources:
        assert name in cluster["headGroupSpec"]["rayStartParams"]["resources"]
    for group in file.engines:
        (workers,) = (each for each in cluster["workerGroupSpecs"] if each["groupName"] == group.name)
        assert workers["rayStartParams"]["labels"] == ",".join(f"{key}={value}" for key, value in group.labels.items())
        limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert (int(limits["nvidia.com/gpu"]), workers["maxReplicas"]) == (group.gpus, group.most)
