from __future__ import annotations

import pytest

from agentserve.vllm_plugin.compat import UnsupportedVllmError, require_supported


@pytest.mark.parametrize("version", ["0.26.0", "0.28.0", "0.32.0+cpu", "0.33.1.dev5+g1234"])
def test_known_versions_are_accepted(version: str) -> None:
    require_supported(version)


@pytest.mark.parametrize("version", ["0.25.9", "0.34.0", "1.26.0", "dev"])
def test_unknown_versions_are_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(UnsupportedVllmError, match="install a supported vLLM, or start it without --scheduler-cls"):
        require_supported(version)
