from typing import Any

import pytest

from agentserve.cluster.placement import Node, unplaceable
from agentserve.cluster.section import ClusterFile, parse_cluster
from agentserve.config import ConfigError

GROUP: dict[str, Any] = {"name": "big", "model": "m", "launch": {"model": "M"}, "gpus": 1.0}


def cluster(group: dict[str, Any] | None = None, **changes: Any) -> ClusterFile:
    return parse_cluster({"address": "auto", "engines": [GROUP | (group or {})], **changes}, "cluster.yaml")


def test_gateways_get_the_pools_of_all_engines_and_what_the_file_says_beside() -> None:
    settings = cluster(gateway={"config": {"policy": "vllm"}}).gateway_config("127.0.0.1:9")
    assert [pool.model for pool in settings.pools] == ["m"]
    assert (settings.policy.name, settings.listen) == ("vllm", "127.0.0.1:9")
    assert settings.discovery is not None
    assert settings.discovery.http


def test_calls_are_held_at_the_pools_of_which_no_engine_stays() -> None:
    assert [pool.on_demand for pool in cluster({"min": 0, "kv_tokens": 9}).gateway_config("127.0.0.1:9").pools] == [
        True
    ]
    assert [pool.on_demand for pool in cluster().gateway_config("127.0.0.1:9").pools] == [False]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"engines": [GROUP]}, "cluster.yaml: address: this key is missing"),
        ({"address": "auto"}, "cluster.yaml: engines: this key is missing"),
        ({"address": "auto", "engines": [GROUP | {"gpu": 1}]}, "engines[0].gpu: unknown key; did you mean 'gpus'?"),
        ({"address": "auto", "engines": [GROUP | {"gpus": "1"}]}, "engines[0].gpus: "),
        ({"address": "auto", "engines": [GROUP | {"emulated": {}}]}, "has exactly one of launch and emulated"),
        ({"address": "auto", "engines": [GROUP, GROUP]}, "the name 'big' is used more than once"),
        ({"address": "auto", "engines": [GROUP | {"min": 2, "max": 1}]}, "max (1) is below min (2)"),
        ({"address": "auto", "engines": [GROUP | {"min": -1}]}, "greater than or equal to 0"),
        ({"address": "auto", "engines": [GROUP | {"min": 0}]}, "kv_tokens must say how many KV tokens"),
        ({"address": "auto", "engines": [GROUP | {"max": 2}]}, "kv_tokens must say how many KV tokens"),
        ({"address": "auto", "engines": [GROUP], "gateway": {"replicas": 2}}, "several need a store that they share"),
        (
            {"address": "auto", "engines": [GROUP], "gateway": {"config": {"polcy": "vllm"}}},
            "gateway.config: polcy: unknown key; did you mean 'policy'?",
        ),
        (
            {"address": "auto", "engines": [GROUP], "gateway": {"config": {"keys": "keys.json"}}},
            "name its file with admin_key_file",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(value: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_cluster(value, "cluster.yaml")
    assert said in str(refused.value)


CPU = Node({"CPU": 8.0}, {})
GPU = Node({"CPU": 8.0, "GPU": 2.0}, {"kind": "H100"})


@pytest.mark.parametrize(
    ("group", "nodes", "said"),
    [
        ({}, [CPU], "each takes 1 GPU, and no node has more than 0; lower `gpus`, or add a node that has them"),
        ({"gpus": 4.0}, [CPU, GPU], "each takes 4 GPU, and no node has more than 2"),
        ({"resources": {"tray": 1.0}}, [GPU], "each takes 1 tray, and no node has more than 0; lower `resources.tray`"),
        ({"labels": {"kind": "L4"}}, [CPU, GPU], "no node has the labels kind=L4; give them with `ray start --labels`"),
        ({"cpus": 16.0}, [GPU, Node({"CPU": 32.0}, {})], "no single node has 16 CPU, 1 GPU"),
    ],
)
def test_what_no_node_can_hold_is_said(group: dict[str, Any], nodes: list[Node], said: str) -> None:
    (line,) = unplaceable(cluster(group), nodes)
    assert line.startswith("engines 'big': ")
    assert said in line


def test_what_one_node_can_hold_is_placed() -> None:
    assert unplaceable(cluster({"gpus": 2.0, "labels": {"kind": "H100"}}), [CPU, GPU]) == []
