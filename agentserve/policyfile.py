"""Policies in files of their own: what `agentserve tune` writes, and a configuration's `policy:` may name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import yaml

from agentserve.sections import UnreadableError, read_yaml
from scheduler.policy import KINDS, Choice, PolicyConfig, PolicyError, parse_policy
from simulator.whole import write_whole

SUFFIXES = (".yaml", ".yml")
"""How the name of a policy file ends; every other name is a preset's."""


def read_policy(path: Path) -> PolicyConfig:
    """Reads a policy file: what a configuration has under `policy:`, with or without that key. It is named by the file.

    Raises:
        PolicyError: the file cannot be read, or holds no policy; the message names it.
    """
    try:
        content = read_yaml(path)
    except UnreadableError as error:
        raise PolicyError(str(error)) from None
    if isinstance(content, dict) and content.keys() == {"policy"}:
        content = content["policy"]
    try:
        return replace(parse_policy(content), name=path.stem)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def write_policy(path: Path, policy: PolicyConfig, comment: Iterable[str] = ()) -> None:
    """Writes a policy file that begins with the lines of a comment. It is there whole or not at all."""
    write_whole(path, [*(f"# {line}\n" for line in comment), policy_text(policy)])


def policy_text(policy: PolicyConfig) -> str:
    """A policy as the YAML of a configuration, every kind by name."""
    return yaml.safe_dump({"policy": choices(policy)}, sort_keys=False)


def choices(policy: PolicyConfig) -> dict[str, object]:
    """A policy as plain data, every kind by name, with the parameters that are not as usual."""
    return {kind: _plain(getattr(policy, kind)) for kind in KINDS}


def _plain(choice: Choice) -> object:
    return {choice.name: dict(choice.params)} if choice.params else choice.name
