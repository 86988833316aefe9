"""The engines of a simulation: what each is made of, and how a person writes them down.

A fleet is a list like `2xA100:w4,1xL40S:w4`: how many, what, and options after colons. What is a GPU of
`simulator.hardware` (modelled), the name of a profile that comes with the package, or the path of one that
`agentserve calibrate` has written (`2xmine.json`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from scheduler.types import EngineSpec, Seconds, Tokens
from simulator.engine import EngineConfig
from simulator.hardware import GPUS, HOST_BANDWIDTH, MEMORY_SHARE, Gpu
from simulator.models import MODELS, ModelShape
from simulator.profile import Measured, ProfileError, SavedProfile, StepProfile, read_profile, shipped
from simulator.roofline import Machine, Weights

BLOCK_SIZE: Tokens = 16
"""Tokens a block on GPUs, as vLLM has it."""

FLEETS = {"hexgen": ("llama-3.1-70b", "2xA100:w4,1xA6000:w4:mem95,1xL40S:w4:mem95")}
"""Settings of published work by name: their model, and their engines. HexGen's is that of its Text-to-SQL paper,
with enough of the two small GPUs' memory in use that its longest prompts fit."""

MEASURED = tuple(
    sorted(entry.name.removesuffix(".json") for entry in files("simulator.profiles").iterdir() if ".json" in entry.name)
)
"""The names of the profiles that come with the package."""

OPTIONS = ("w4", "bf16", "tp", "kv", "len", "seqs", "batch", "mem", "offload", "slow", "stock")
_PART = re.compile(r"(?:(?P<count>\d+)x)?(?P<what>.+)")
_OPTION = re.compile(r"(?P<word>tp|kv|len|seqs|batch|mem|offload|slow)(?P<value>\d+)")


class FleetError(ValueError):
    """A fleet that cannot be. The message names the part, what is wrong with it, and what to write instead."""


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One engine of a fleet."""

    name: str
    """Unique within the fleet."""
    hardware: str
    """What a person calls it: `A100:w4`."""
    config: EngineConfig
    profile: StepProfile
    plugin: bool = True
    """Whether it keeps the KV of programs through their gaps when told to."""
    request_overhead: Seconds = 0.0
    """What a request costs before its first token outside the engine's steps; 0 where it was not measured."""
    modelled: bool = False
    """Its speed is computed from data sheets, not measured."""
    model: str = ""
    """What it serves, where that is known."""
    slower: float = 1.0
    """A straggler: its steps take so many times what `profile` says, which is what the scheduler is told."""


@dataclass(frozen=True, slots=True)
class _Options:
    weights: Weights | None = None
    tp: int | None = None
    kv: Tokens | None = None
    len: Tokens | None = None
    seqs: int | None = None
    batch: Tokens | None = None
    mem: int | None = None
    offload: Tokens | None = None
    slow: int = 1
    stock: bool = False


def parse_fleet(text: str, model: str | None = None) -> tuple[EngineModel, ...]:
    """The engines of `[COUNTx]WHAT[:OPTION]...,...`, or of a setting of `FLEETS`, all of which serve `model`.

    Options: `w4` or `bf16` weights, `tpN` GPUs an engine, `kvN` tokens of KV memory instead of what fits, `lenN` the
    longest context, `seqsN` and `batchN` the most requests and tokens a step, `memN` percent of the GPU's memory,
    `offloadN` tokens of KV in CPU memory, `slowN` for a straggler that takes N times as long as the scheduler is told, and
    `stock` for an engine without the plugin. The model may be left out where profiles name the one they measured.

    Raises:
        FleetError: a part is not understood or cannot be; the message names it.
    """
    if text in FLEETS:
        usual, text = FLEETS[text]
        model = model or usual
    seen: Counter[str] = Counter()
    engines: list[EngineModel] = []
    for part in text.split(","):
        if part.strip() in FLEETS:
            raise FleetError(f"{part.strip()!r} is a whole fleet, and stands alone")
        count, engine = _parse_part(part.strip(), model)
        for _ in range(count):
            engines.append(replace(engine, name=f"{engine.name}-{seen[engine.name]}"))
            seen[engine.name] += 1
    _check_one_model(engines)
    return tuple(engines)


def probed(spec: EngineSpec, max_num_batched_tokens: Tokens) -> EngineConfig:
    """The sizes of an engine that runs, as a gateway's probe found it: in whole blocks.

    Raises:
        ValueError: it has no memory for a single block.
    """
    blocks = spec.kv_tokens // spec.block_size
    return EngineConfig(
        num_blocks=blocks,
        block_size=spec.block_size,
        max_model_len=min(spec.max_model_len, blocks * spec.block_size),
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        priority=spec.priority,
    )


def _check_one_model(engines: Sequence[EngineModel]) -> None:
    """One simulation serves one model."""
    served = {engine.model: engine.hardware for engine in engines}
    if len(served) > 1:
        told = ", ".join(f"{hardware} was measured on {model}" for model, hardware in served.items())
        raise FleetError(f"all engines of a fleet serve one model, but {told}: simulate them one by one")


def _parse_part(part: str, model: str | None) -> tuple[int, EngineModel]:
    if not part:
        raise FleetError("a fleet is a list like 2xA100:w4,1xL40S:w4, and one of its parts is empty")
    what, *words = part.split(":")
    match = _PART.fullmatch(what)
    count, name = (int(match["count"] or 1), match["what"]) if match else (1, what)
    if count < 1:
        raise FleetError(f"{part!r}: there must be at least one of them")
    options = _parse_options(part, words)
    try:
        if name in GPUS:
            return count, _modelled(part, GPUS[name], options, _shape(part, model))
        return count, _measured(part, name, _saved(part, name), options, model)
    except FleetError:
        raise
    except ValueError as error:  # the machine or its sizes cannot be
        raise FleetError(f"{part!r}: {error}") from error


def _parse_options(part: str, words: list[str]) -> _Options:
    values: dict[str, int] = {}
    weights: list[Weights] = []
    stock = 0
    for word in words:
        match = _OPTION.fullmatch(word)
        if match and int(match["value"]) > 0:
            if match["word"] in values:
                _twice(part, f"{match['word']}{values[match['word']]}", word)
            values[match["word"]] = int(match["value"])
        elif word in ("w4", "bf16"):
            weights.append(Weights(word))
        elif word == "stock":
            stock += 1
        else:
            _unknown(
                part,
                "option",
                word,
                OPTIONS,
                "N stands for a number above 0 in tpN, kvN, lenN, seqsN, batchN, memN, offloadN, slowN",
            )
    if len(weights) > 1:
        _twice(part, weights[0].value, weights[1].value)
    if stock > 1:
        _twice(part, "stock", "stock")
    if values.get("mem", 0) > 100:
        raise FleetError(f"{part!r}: memN is a percentage, at most 100")
    return _Options(weights[0] if weights else None, stock=bool(stock), **values)


def _twice(part: str, one: str, other: str) -> NoReturn:
    raise FleetError(f"{part!r}: {one} and {other} say the same thing twice, or contradict each other: leave one out")


def _shape(part: str, model: str | None) -> ModelShape:
    if model is None:
        raise FleetError(f"{part!r}: a GPU needs a model; name one of {', '.join(MODELS)}")
    if model not in MODELS:
        _unknown(part, "model", model, MODELS, "an engine with another one can be measured with `agentserve calibrate`")
    return MODELS[model]


def _saved(part: str, name: str) -> SavedProfile:
    if name in MEASURED:
        return shipped(name)
    if not name.endswith(".json"):
        _unknown(part, "GPU or profile", name, (*GPUS, *MEASURED, *FLEETS), "a profile's file ends with .json")
    try:
        return read_profile(Path(name))
    except OSError as error:
        raise FleetError(f"{part!r}: {name} cannot be read: {error.strerror}") from error
    except ProfileError as error:
        raise FleetError(f"{part!r}: {error}") from error


def _modelled(part: str, gpu: Gpu, options: _Options, shape: ModelShape) -> EngineModel:
    machine = Machine(gpu, shape, options.weights or Weights.BF16, options.tp or 1)
    batch, seqs = options.batch or gpu.max_num_batched_tokens, options.seqs or gpu.max_num_seqs
    room = machine.kv_tokens(batch, seqs, options.mem / 100 if options.mem else MEMORY_SHARE)
    if options.kv and options.kv > room:
        raise FleetError(f"{part!r}: {options.kv} tokens of KV are {options.kv - room} more than fit, which is {room}")
    config = _config(part, options, options.kv or room, BLOCK_SIZE, shape.max_model_len, seqs, batch)
    if options.offload:
        speed = HOST_BANDWIDTH * machine.tensor_parallel / shape.kv_token_bytes
        config = replace(config, offload_tokens=options.offload, load_tokens_per_s=speed)
    return EngineModel(
        gpu.name.lower(),
        _title(part),
        config,
        machine.profile(),
        not options.stock,
        modelled=True,
        model=shape.name,
        slower=options.slow,
    )


def _measured(part: str, name: str, saved: SavedProfile, options: _Options, model: str | None) -> EngineModel:
    if options.weights or options.tp or options.mem or options.offload:
        raise FleetError(
            f"{part!r}: w4, bf16, tp, mem and offload are for modelled GPUs; {name} is an engine as it was measured"
        )
    if saved.measured is None:
        raise FleetError(f"{part!r}: {name} does not say what it was measured on; its field `measured` is missing")
    about = saved.measured
    if model is not None and model != about.model:
        raise FleetError(
            f"{part!r}: {name} was measured on the model {about.model} (field measured.model), not {model}"
        )
    config = _config(
        part,
        options,
        options.kv or _known_kv(part, name, about),
        about.block_size or BLOCK_SIZE,
        about.max_model_len,
        options.seqs or about.max_num_seqs,
        options.batch or about.max_num_batched_tokens,
    )
    return EngineModel(
        Path(name).stem,
        _title(part),
        config,
        saved.profile,
        not options.stock,
        about.request_overhead,
        model=about.model,
        slower=options.slow,
    )


def _known_kv(part: str, name: str, about: Measured) -> Tokens:
    if about.num_blocks is None:
        raise FleetError(f"{part!r}: {name} does not tell the engine's KV memory (field measured.num_blocks); add :kvN")
    return about.num_blocks * (about.block_size or BLOCK_SIZE)


def _config(
    part: str, options: _Options, kv: Tokens, block_size: Tokens, longest: Tokens, seqs: int, batch: Tokens
) -> EngineConfig:
    """The engine's sizes; the longest context is the model's, or all of the KV memory where that is less.

    An engine without the plugin is one as people start it, which orders its queue by arrival.
    """
    if options.len and options.len > longest:
        raise FleetError(f"{part!r}: len{options.len} is more than the model's own limit of {longest} tokens")
    blocks = kv // block_size
    return EngineConfig(
        num_blocks=blocks,
        block_size=block_size,
        max_model_len=options.len or min(longest, blocks * block_size),
        max_num_seqs=seqs,
        max_num_batched_tokens=batch,
        priority=not options.stock,
    )


def _title(part: str) -> str:
    return re.sub(r"^\d+x", "", part)


def _unknown(part: str, kind: str, word: str, known: Collection[str], hint: str) -> NoReturn:
    raise FleetError(f"{part!r}: there is no {kind} {word!r}; {_nearest(word, known)}; {hint}")


def _nearest(word: str, known: Collection[str]) -> str:
    lowered = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[close[0]]!r}?" if close else f"known are {', '.join(known)}"
