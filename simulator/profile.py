"""How long one step of an engine takes, as a linear model of what the step computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, ValidationError

from scheduler.types import Seconds, Tokens


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

    def __post_init__(self) -> None:
        per_unit = (self.prefill_token, self.prefill_attention, self.decode_request, self.decode_context)
        if not (self.constant > 0 and min(per_unit) >= 0):
            raise ValueError(f"step profile {self.name!r}: constant must be above zero, the others not below it")

    def seconds(self, work: StepWork) -> Seconds:
        """The time one step takes."""
        return (
            self.constant
            + self.prefill_token * work.prefill_tokens
            + self.prefill_attention * work.prefill_attention
            + self.decode_request * work.decode_batch
            + self.decode_context * work.decode_context
        )

    @property
    def prefill_tokens_per_s(self) -> float:
        """The speed of a long prefill, its attention and the constant cost of steps left out."""
        return 1 / self.prefill_token if self.prefill_token else 1 / self.constant


CPU_SMOLLM2 = StepProfile(
    name="cpu-smollm2",
    source=(
        "SmolLM2-135M in bf16, vLLM on 2 CPU cores: prefill about 2,000 tokens/s, decode 29 tokens/s alone and 320 "
        "at batch 16, a 3,000-token prompt 1.7 s cold; the cost of a decode's context is an estimate"
    ),
    constant=0.0334,
    prefill_token=4.3e-4,
    prefill_attention=7.6e-8,
    decode_request=1.03e-3,
    decode_context=1.0e-6,
)


class _ProfileFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["agentserve-step-profile/1"] = "agentserve-step-profile/1"
    name: str
    source: str
    constant: PositiveFloat
    prefill_token: NonNegativeFloat = 0.0
    prefill_attention: NonNegativeFloat = 0.0
    decode_request: NonNegativeFloat = 0.0
    decode_context: NonNegativeFloat = 0.0


def load_profile(path: Path) -> StepProfile:
    """Reads a profile's JSON file.

    Raises:
        ProfileError: it is no such file; the message names what is wrong with which field.
        OSError: it cannot be read.
    """
    try:
        file = _ProfileFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProfileError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    return StepProfile(**file.model_dump(exclude={"format"}))


def save_profile(profile: StepProfile, path: Path) -> None:
    """Writes a profile's JSON file."""
    path.write_text(_ProfileFile(**asdict(profile)).model_dump_json(indent=2) + "\n")
