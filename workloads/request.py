"""How a workload's calls become chat-completion requests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from workloads.program import Call, Program
from workloads.synth import Message


@dataclass(frozen=True, slots=True)
class Extra:
    """Headers and body fields to add to a call's request; they replace the client's own of the same name."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)


ExtraHook: TypeAlias = Callable[[Program, Call], Extra]


def no_extra(program: Program, call: Call) -> Extra:
    """Adds nothing."""
    return Extra()


@dataclass(frozen=True, slots=True)
class RequestRules:
    """How calls become requests to `model`.

    With `identity`, headers name the program (and its parent, workflow and the call's stage). With `announce_end`,
    the last call of a program says that it is. With `exact_lengths`, vLLM's sampling extras make every answer exactly
    as long as the workload says; without, an answer may be shorter.
    """

    model: str
    identity: bool = True
    announce_end: bool = True
    exact_lengths: bool = True
    hook: ExtraHook = no_extra

    def headers(self, program: Program, call: Call, *, final: bool) -> dict[str, str]:
        """The request's headers."""
        headers: dict[str, str] = {}
        if self.identity:
            named = {"program": program.id, "parent": program.parent, "workflow": program.workflow, "stage": call.stage}
            headers = {f"x-agentserve-{name}": value for name, value in named.items() if value}
        if self.announce_end and final:
            headers["x-agentserve-final"] = "true"
        return headers | dict(self.hook(program, call).headers)

    def body(self, program: Program, call: Call, messages: Sequence[Message]) -> dict[str, object]:
        """The request's JSON body. The seed depends on the program's and the call's id alone."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "seed": zlib.crc32(f"{program.id}/{call.id}".encode()),
            "max_tokens": call.output_tokens,
        }
        if self.exact_lengths:
            body |= {"min_tokens": call.output_tokens, "ignore_eos": True}
        return body | dict(self.hook(program, call).body)
