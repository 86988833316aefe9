"""How long one step of an engine takes, as a model of what the step computes, and the file that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, ValidationError

from scheduler.types import Seconds, StepCost, Tokens
from simulator.whole import write_whole


class ProfileError(ValueError):
    """A profile that cannot be read. The message names the file and the field."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one step computes.

    `prefill_attention` sums, over the prefilled tokens, the tokens each of them attends to; `decode_context` sums,
    over the decoding requests, the tokens in their context.
    """

    prefill_tokens: Tokens = 0
    prefill_attention: float = 0.0
    decode_batch: int = 0
    decode_context: Tokens = 0


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Seconds a step takes: in all, and per unit of each quantity of `StepWork`.

    Prefilled and decoded tokens share `token`, which is paid for at least `token_floor` of them: a step reads the
    weights once whatever it computes, and below that many tokens reading takes longer than computing (the ridge of a
    roofline). Measured on a CPU, steps have no such floor, and a sum of the other terms is enough.

    A batch that only decodes takes steps that differ by `decode_context` alone: each is longer than the one before by
    that much for every request.

    Raises:
        ValueError: `constant` is not above zero (a step takes time), or another coefficient is below it.
    """

    name: str
    source: str
    """Where the numbers come from: a person has to be able to judge what an emulated second is worth."""
    constant: Seconds
    prefill_token: Seconds = 0.0
    prefill_attention: Seconds = 0.0
    decode_request: Seconds = 0.0
    decode_context: Seconds = 0.0
    token: Seconds = 0.0
    token_floor: Tokens = 0

    def __post_init__(self) -> None:
        others = (
            self.prefill_token,
            self.prefill_attention,
            self.decode_request,
            self.decode_context,
            self.token,
            self.token_floor,
        )
        if not (self.constant > 0 and min(others) >= 0):
            raise ValueError(f"step profile {self.name!r}: constant must be above zero, the others not below it")

    def seconds(self, work: StepWork) -> Seconds:
        """The time one step takes."""
        tokens = work.prefill_tokens + work.decode_batch
        return (
            self.constant
            + self.token * max(tokens, self.token_floor)
            + self.prefill_token * work.prefill_tokens
            + self.prefill_attention * work.prefill_attention
            + self.decode_request * work.decode_batch
            + self.decode_context * work.decode_context
        )

    def times(self, factor: float) -> StepProfile:
        """The same engine, each of whose steps takes so many times as long."""
        return replace(
            self,
            constant=factor * self.constant,
            prefill_token=factor * self.prefill_token,
            prefill_attention=factor * self.prefill_attention,
            decode_request=factor * self.decode_request,
            decode_context=factor * self.decode_context,
            token=factor * self.token,
        )

    @property
    def prefill_tokens_per_s(self) -> float:
        """The speed of a long prefill, its attention and the constant cost of steps left out."""
        per_token = self.prefill_token + self.token
        return 1 / per_token if per_token else 1 / self.constant

    @property
    def cost(self) -> StepCost:
        """What the brain is told. The floor under the tokens of a step becomes part of its constant."""
        floor = self.token * self.token_floor
        return StepCost(
            constant=self.constant + floor,
            prefill_token=self.prefill_token + self.token,
            prefill_attention=self.prefill_attention,
            decode_request=self.decode_request + (0.0 if floor else self.token),
            decode_context=self.decode_context,
        )


@dataclass(frozen=True, slots=True)
class FitError:
    """How far a profile is from what was measured: relative errors of single timings, without their signs."""

    count: int
    median: float
    p90: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The engine that a profile was measured on; None where it did not tell."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: str
    hardware: str
    date: str
    command: str
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int | None = None
    num_blocks: int | None = None
    """Blocks that requests can use."""
    request_overhead: Seconds = 0.0
    """What a request costs outside the engine's steps: HTTP, tokenisation, queues between processes."""
    fit: Mapping[str, FitError] = field(default_factory=dict)
    """The error by regime: prefill, cached, decode, mixed."""


@dataclass(frozen=True, slots=True)
class SavedProfile:
    """What a profile's file holds."""

    profile: StepProfile
    measured: Measured | None = None
    """None for a profile that a person wrote."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["agentserve-step-profile/1"] = "agentserve-step-profile/1"
    name: str
    source: str
    constant: PositiveFloat
    prefill_token: NonNegativeFloat = 0.0
    prefill_attention: NonNegativeFloat = 0.0
    decode_request: NonNegativeFloat = 0.0
    decode_context: NonNegativeFloat = 0.0
    token: NonNegativeFloat = 0.0
    token_floor: NonNegativeInt = 0
    measured: Measured | None = None


def read_profile(path: Path | Traversable) -> SavedProfile:
    """Reads a profile's JSON file.

    Raises:
        ProfileError: it is no such file; the message names what is wrong with which field.
        OSError: it cannot be read.
    """
    try:
        file = _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProfileError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    return SavedProfile(StepProfile(**file.model_dump(exclude={"format", "measured"})), file.measured)


def load_profile(path: Path) -> StepProfile:
    """The step profile of a profile's JSON file.

    Raises:
        ProfileError: it is no such file; the message names what is wrong with which field.
        OSError: it cannot be read.
    """
    return read_profile(path).profile


def save_profile(profile: StepProfile, path: Path, measured: Measured | None = None) -> None:
    """Writes a profile's JSON file, whole or not at all."""
    file = _File(**asdict(profile), measured=measured)
    write_whole(path, [file.model_dump_json(indent=2), "\n"])


def shipped(name: str) -> SavedProfile:
    """A profile that comes with the package, by its file's name without the ending.

    Raises:
        FileNotFoundError: there is none.
    """
    return read_profile(files("simulator.profiles") / f"{name}.json")


CPU_SMOLLM2 = shipped("cpu-smollm2").profile
"""SmolLM2-135M on two CPU cores, as measured."""
