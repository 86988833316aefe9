from __future__ import annotations

import pytest

from agentserve.vllm_plugin.epochs import Epochs, StaleError


def test_the_latest_brain_is_obeyed_and_none_before_it() -> None:
    epochs = Epochs()
    epochs.admit(None)
    epochs.admit("7")
    epochs.admit("7")
    epochs.admit("9")
    for late in ("8", None):
        with pytest.raises(StaleError, match="came after one of epoch 9"):
            epochs.admit(late)


@pytest.mark.parametrize("header", ["", "-1", "1.5", "\u0663", "1" * 30])
def test_what_is_no_epoch_is_an_error(header: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        Epochs().admit(header)
