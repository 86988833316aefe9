from __future__ import annotations

from pathlib import Path

import pytest

from agentserve.config import ConfigError, default_config, load, parse
from scheduler.policy import PRESETS

ENGINE: dict[str, object] = {"url": "http://127.0.0.1:8101"}


def pools(*engines: dict[str, object]) -> dict[str, object]:
    return {"pools": [{"model": "smollm2", "engines": list(engines)}]}


def problem(value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(value)
    return str(caught.value)


def test_the_shape_of_the_readme_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agentserve.yaml"
    file.write_text(
        """
listen: 127.0.0.1:9000
policy: vllm
pools:
  - model: smollm2
    engines:
      - {name: a, url: http://127.0.0.1:8101/v1/}
      - {name: b, launch: {model: path-or-id, args: [--max-model-len, 4096], env: {OMP_NUM_THREADS: 1}}}
      - {emulated: {kv_tokens: 4096}}
"""
    )
    config = load(file)
    a, b, third = (engine for _, engine in config.engines)
    assert (config.host, config.port, config.policy) == ("127.0.0.1", 9000, PRESETS["vllm"])
    assert (a.name, a.url) == ("a", "http://127.0.0.1:8101")
    assert b.launch is not None
    assert (b.launch.args, b.launch.env, b.launch.plugin) == (
        ["--max-model-len", "4096"],
        {"OMP_NUM_THREADS": "1"},
        True,
    )
    assert third.emulated is not None
    assert (third.name, third.emulated.kv_tokens, third.emulated.block_size) == ("engine-2", 4096, 32)
    assert config.limits.body_bytes == 32 * 1024 * 1024


def test_an_unknown_key_is_named_by_its_path_with_the_nearest_valid_one() -> None:
    message = problem(pools(ENGINE, {"lunch": {"model": "m"}}))
    assert message.startswith("pools[0].engines[1].lunch: unknown key; did you mean 'launch'?")
    assert problem(pools(ENGINE) | {"polcy": "vllm"}).startswith("polcy: unknown key; did you mean 'policy'?")


def test_every_problem_gets_a_line() -> None:
    message = problem(pools(ENGINE) | {"program_idle_timeout": -1, "limits": {"stall": "long"}})
    assert [line.partition(":")[0] for line in message.splitlines()] == ["limits.stall", "program_idle_timeout"]
    assert "'long'" in message


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ({}, "exactly one of url, launch and emulated, not none"),
        (ENGINE | {"emulated": {}}, "exactly one of url, launch and emulated, not url and emulated"),
        ({"url": "127.0.0.1:8101"}, "pools[0].engines[0].url: an engine's url begins with http"),
        ({"launch": {}}, "pools[0].engines[0].launch.model: this key is missing"),
        ({"launch": {"model": "m", "plugin": "yes"}}, "pools[0].engines[0].launch.plugin: "),
        ({"name": "a b"} | ENGINE, "pools[0].engines[0].name: "),
        (
            {"launch": {"model": "m", "args": ["--port", 1]}},
            "launch.args: --port is set by agentserve; use launch.port",
        ),
        ({"emulated": {"max_model_len": 9000}}, "emulated: max_model_len (9000) must fit into kv_tokens (8192)"),
        ({"emulated": {"kv_tokens": 4100}}, "emulated: kv_tokens (4100) must be a multiple of block_size (32)"),
        ({"emulated": {"kv_tokens": 0}}, "pools[0].engines[0].emulated.kv_tokens: "),
    ],
)
def test_an_engine_that_cannot_be_is_refused(engine: dict[str, object], expected: str) -> None:
    assert expected in problem(pools(engine))


@pytest.mark.parametrize("args", [["-dp", 2], ["--data-parallel-size=2"], ["--data_parallel_size", "4"]])
def test_data_parallel_ranks_are_refused_with_the_way_out(args: list[object]) -> None:
    message = problem(pools({"launch": {"model": "m", "args": args}}))
    assert message.startswith("pools[0].engines[0].launch.args: ")
    assert "start one engine a rank" in message


def test_one_data_parallel_rank_is_no_data_parallelism() -> None:
    assert parse(pools({"launch": {"model": "m", "args": ["-dp", 1]}})).pools


def test_engine_names_are_unique_over_all_pools() -> None:
    message = problem({"pools": [{"model": name, "engines": [{"name": "a"} | ENGINE]} for name in ("x", "y")]})
    assert message == "engine names must differ, and 'a' is used more than once"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("agentsrve", "policy: unknown policy preset 'agentsrve'; did you mean 'agentserve'?"),
        ({"ordre": "fcfs"}, "policy: unknown policy kind 'ordre'; did you mean 'order'?"),
        ({"order": "fcsf"}, "policy: unknown order policy 'fcsf'; did you mean 'fcfs'?"),
        ({"retention": {"fixed_ttl": {"tll": 3}}}, "policy: unknown parameter of retention policy 'fixed_ttl' 'tll'"),
        ({"retention": {"fixed_ttl": {"ttl": "3"}}}, "policy: retention.fixed_ttl.ttl must be of type float"),
        (7, "policy: policy must be a preset's name or a mapping"),
    ],
)
def test_a_policy_that_does_not_exist_is_named(policy: object, expected: str) -> None:
    assert problem(pools(ENGINE) | {"policy": policy}).startswith(expected)


@pytest.mark.parametrize("listen", ["8000", ":8000", "localhost:", "localhost:http", "localhost:65536"])
def test_an_address_that_cannot_be_listened_on_is_refused(listen: str) -> None:
    assert problem(pools(ENGINE) | {"listen": listen}).startswith("listen: listen is HOST:PORT")


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    file = tmp_path / "agentserve.yaml"
    with pytest.raises(ConfigError, match=r"agentserve\.yaml cannot be read"):
        load(file)
    file.write_text("pools: [")
    with pytest.raises(ConfigError, match="line 1"):
        load(file)
    file.write_text("- pools")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load(file)
    file.write_text("listen: 1.2.3.4:80")
    with pytest.raises(ConfigError, match=r"agentserve\.yaml: pools: this key is missing"):
        load(file)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agentserve.yaml"
    file.write_text("listen: 127.0.0.1:1\npolicy: vllm\npools: [{model: m, engines: [{url: 'http://h'}]}]")
    config = load(file, listen="127.0.0.1:2", policy=None)
    assert (config.port, config.policy.name) == (2, "vllm")


def test_the_default_is_one_launched_engine_with_the_plugin() -> None:
    config = default_config(Path("folder"), policy="continuum")
    ((pool, engine),) = config.engines
    assert (pool.model, config.policy.name) == ("smollm2", "continuum")
    assert engine.launch is not None
    assert (engine.launch.model, engine.launch.plugin) == ("folder", True)


POOLS = [{"model": "m", "engines": [{"url": "http://a"}]}]


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "192.168.1.5:8000", "gpu-box:8000"])
def test_what_others_can_reach_is_refused_without_keys(listen: str) -> None:
    with pytest.raises(ConfigError, match="keys create"):
        parse({"listen": listen, "pools": POOLS})
    assert parse({"listen": listen, "pools": POOLS, "keys": "keys.json"}).listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:8000", "127.1.2.3:8000", "[::1]:8000", "localhost:8000"])
def test_loopback_needs_no_keys(listen: str) -> None:
    assert parse({"listen": listen, "pools": POOLS}).keys is None


TENANTS: dict[str, tuple[dict[str, object], str]] = {
    "twice": ({"keys": "k", "tenants": [{"name": "a"}, {"name": "a"}]}, "'a' is used twice"),
    "without keys": ({"tenants": [{"name": "a"}]}, "without `keys` everybody is the tenant 'default'"),
    "a name with a slash": ({"keys": "k", "tenants": [{"name": "a/b"}]}, r"tenants\[0\].name"),
    "what kills engines": ({"allow": ["skip_reading_prefix_cache"]}, "never passes: it kills"),
    "what steers nothing": ({"allow": ["priorty"]}, "did you mean 'priority'"),
    "a budget nobody keeps": (
        {"keys": "k", "tenants": [{"name": "a", "budget": {"tokens": 1}}]},
        "name one with `state`",
    ),
    "an unknown limit": ({"keys": "k", "tenants": [{"name": "a", "wieght": 2.0}]}, "did you mean 'weight'"),
}


@pytest.mark.parametrize("name", TENANTS)
def test_mistakes_in_tenants_are_named(name: str) -> None:
    settings, said = TENANTS[name]
    with pytest.raises(ConfigError, match=said):
        parse({"pools": POOLS, **settings})


WORKFLOW = {"name": "sql", "slo": "90s", "stages": {"plan": {}, "draft": {"after": ["plan"], "parallel": 3}}}


def test_a_workflow_is_declared_with_stages_and_the_time_for_the_whole() -> None:
    (workflow,) = parse({**pools(ENGINE), "workflows": [WORKFLOW]}).workflows
    assert (workflow.slo, workflow.stages["draft"].parallel, workflow.stages["plan"].retries) == (90.0, 3, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slo": 0}, r"workflows\[0\].slo.*greater than 0"),
        ({"stages": {"plan": {"after": ["nothing"]}}}, "'plan' comes after 'nothing', which is no stage"),
        ({"stages": {"a": {"after": ["b"]}, "b": {"after": ["a"]}}}, "in a cycle: .* has `retries`"),
        ({"stages": {"a": {"after": ["a"]}}}, "in a cycle: a -> a"),
        ({"stages": {}}, r"workflows\[0\].stages"),
        ({"stages": {"a": {"retires": 3}}}, "did you mean 'retries'"),
        ({"stages": {"a": {"parallel": 0}}}, r"stages.a.parallel.*greater than 0"),
        ({"stages": {"a": {"retries": -1}}}, r"stages.a.retries"),
    ],
)
def test_a_workflow_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse({**pools(ENGINE), "workflows": [WORKFLOW | change]})


def test_a_workflow_is_declared_once() -> None:
    with pytest.raises(ConfigError, match="'sql' is declared more than once"):
        parse({**pools(ENGINE), "workflows": [WORKFLOW, WORKFLOW]})


SHARED = {"pools": [{"model": "m", "engines": [{"name": "a", "url": "http://e"}]}], "store": {"redis": "redis://r"}}


def test_gateways_share_a_store() -> None:
    store = parse(SHARED).store
    assert store is not None
    assert (store.cell, store.lease, store.channel) == ("default", 1.5, "127.0.0.1:0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"store": {"redis": "http://r"}}, r"store\.redis: .*http://r"),
        ({"store": {"redis": "redis://r", "lease": 0.1}}, r"store\.lease: .*greater than or equal to 0\.5"),
        ({"store": {"redis": "redis://r", "channel": "0.0.0.0:1"}}, r"store\.channel: channel is HOST:PORT as other"),
        ({"pools": [{"model": "m", "engines": [{"name": "a", "emulated": {}}]}]}, "store: engine 'a' would belong to"),
        ({"state": "s.json"}, "store: state cannot be used with it; what was learned is kept in the store"),
        ({"event_log": "e.jsonl"}, "store: event_log cannot be used with it"),
    ],
)
def test_what_cannot_be_shared_is_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(SHARED | change)
