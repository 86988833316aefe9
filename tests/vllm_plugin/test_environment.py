from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from agentserve.vllm_plugin import environment
from agentserve.vllm_plugin.environment import guard_enabled, plugins_value


def test_plugins_that_vllm_would_have_loaded_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [
        EntryPoint("ascend", "x:y", "vllm.platform_plugins"),
        EntryPoint("lora", "x:y", "vllm.general_plugins"),
        EntryPoint("other_routes", "x:y", "vllm.endpoint_plugins"),
    ]
    monkeypatch.setattr(
        environment, "entry_points", lambda group: [plugin for plugin in installed if plugin.group == group]
    )
    assert plugins_value({}) == "lora,ascend,agentserve"


def test_the_users_own_list_is_extended_and_not_widened() -> None:
    assert plugins_value({"VLLM_PLUGINS": "mine"}) == "mine,agentserve"
    assert plugins_value({"VLLM_PLUGINS": ""}) == "agentserve"
    assert plugins_value({"VLLM_PLUGINS": "agentserve,mine"}) == "agentserve,mine"


def test_the_guard_is_on_unless_it_is_switched_off() -> None:
    assert guard_enabled({})
    assert guard_enabled({"AGENTSERVE_GUARD": "1"})
    assert not guard_enabled({"AGENTSERVE_GUARD": "0"})
