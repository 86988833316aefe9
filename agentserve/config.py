"""The configuration file: what the gateway listens on, which policy it runs and which engines it serves from.

Every mistake in it is reported by the path of the key (`pools[0].engines[1].lunch`) and, for a key that does not
exist, with the nearest one that does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from agentserve.discovery.section import DiscoverySection
from agentserve.engines import arguments
from agentserve.gateway.tenants.section import TenantSection, TlsSection
from agentserve.gateway.tenants.steering import Steering
from agentserve.policyfile import SUFFIXES, read_policy
from agentserve.sections import (
    Amount,
    BaseUrl,
    Count,
    Duration,
    Factor,
    Name,
    PathText,
    Section,
    Text,
    UnreadableError,
    problem,
    read_yaml,
    repeated,
)
from agentserve.workflows import WorkflowSection
from scheduler import registry
from scheduler.policy import PRESETS, Choice, PolicyConfig, parse_policy
from scheduler.procedures.answers import Extraction, Rule
from scheduler.procedures.base import Kind, ProcedureSpec, Vote
from scheduler.rollouts.staleness import Bound
from scheduler.types import DEFAULT_TENANT
from simulator.tune.objective import parse_objective

DEMO_MODEL_NAME = "smollm2"
NO_FAIRNESS, BY_WEIGHTS = Choice("none"), Choice("virtual_token_counter")


NOT_SHARED = {
    "state": "what was learned is kept in the store",
    "event_log": "the brain's log is kept in the store",
    "tune": "tune where one gateway has the brain, and give all the policy that it finds",
    "virtual": "serve virtual models by a gateway of their own, without `store`",
}
"""What only a gateway that is alone can do, and what to do instead."""


class ConfigError(ValueError):
    """A configuration that cannot be used. The message has one line a problem, each naming the key and the cure."""


def _ours(args: list[str]) -> list[str]:
    for name, instead in (("--port", "launch.port"), ("--model", "launch.model")):
        if arguments.value_of(args, name) is not None:
            raise ValueError(f"{name} is set by agentserve; use {instead} instead")
    return args


def _one_rank(args: list[str]) -> list[str]:
    ranks = arguments.value_of(args, "--data-parallel-size", "-dp")
    if ranks not in (None, "1"):
        raise ValueError(f"{arguments.DATA_PARALLEL_REFUSED} (--data-parallel-size is {ranks})")
    return args


def _collector(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"a collector's endpoint begins with http:// or https://, not {value!r}")
    return value.rstrip("/").removesuffix("/v1/traces")


def _address(value: str) -> str:
    if not _names_port(value):
        raise ValueError(f"listen is HOST:PORT, for example 127.0.0.1:8000, not {value!r}")
    return value


def _channel(value: str) -> str:
    if not _names_port(value) or value.startswith(("0.0.0.0:", "[::]:")):
        raise ValueError(f"channel is HOST:PORT as other gateways reach it, for example 10.0.0.5:0, not {value!r}")
    return value


def _names_port(value: str) -> bool:
    host, colon, port = value.rpartition(":")
    return bool(colon and host and port.isdecimal() and int(port) < 65536)


class Launch(Section):
    """A vLLM process of our own on this machine."""

    model: str = Field(min_length=1)
    """A folder or a model id, as vLLM's --model takes it."""
    args: Annotated[list[Text], AfterValidator(_ours), AfterValidator(_one_rank)] = Field(default_factory=list)
    """Further arguments for vLLM; they win over ours."""
    plugin: bool = True
    """False launches stock vLLM, without any flag of ours."""
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None
    """A free one is chosen where it is left out."""
    env: dict[str, Text] = Field(default_factory=dict)


class Emulated(Section):
    """An engine that only pretends: real scheduling of memory and time, filler for text."""

    kv_tokens: Count = 8192
    block_size: Count = 32
    max_model_len: Count = 4096
    max_num_seqs: Count = 128
    max_num_batched_tokens: Count = 2048
    profile: PathText | None = None
    """A step profile measured on the hardware to be emulated; a small model on two CPU cores without it."""
    speed: Factor = 1.0
    """Engine seconds that pass in a second of the clock."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_model_len > self.kv_tokens:
            raise ValueError(f"max_model_len ({self.max_model_len}) must fit into kv_tokens ({self.kv_tokens})")
        if self.kv_tokens % self.block_size:
            raise ValueError(f"kv_tokens ({self.kv_tokens}) must be a multiple of block_size ({self.block_size})")
        return self


class EngineSection(Section):
    """One engine: exactly one of `url`, `launch` and `emulated` says where it comes from."""

    name: Name = ""
    """`engine-0`, `engine-1`, ... by position in the file where it is left out."""
    url: BaseUrl | None = None
    launch: Launch | None = None
    emulated: Emulated | None = None
    kv_tokens: Count | None = None
    """For an engine that does not report how many KV tokens it holds."""
    priority: bool = False
    """For an engine by url that runs with --scheduling-policy priority, which it does not tell."""
    max_num_seqs: Count | None = None
    """For an engine by url without the plugin: its --max-num-seqs, which it does not tell; 256 where it is left out."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [key for key in ("url", "launch", "emulated") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"an engine has exactly one of url, launch and emulated, not {' and '.join(given) or 'none'}"
            )
        return self


class RolloutSection(Section):
    """What a trainer allows its samples, and how long an update of weights waits for calls."""

    batch: Count | None = None
    """Samples that make a version of the weights. Without it groups are never refused."""
    lag: Annotated[int, Field(ge=0)] = 1
    """How many versions the weights that write a sample may be behind those that are trained with it."""
    drain: Duration = 30.0
    """How long calls have to end before an engine's weights change; samples go on elsewhere after that."""

    @property
    def bound(self) -> Bound | None:
        """How stale samples may be."""
        return None if self.batch is None else Bound(self.batch, self.lag)


class Pool(Section):
    """The engines that serve one model, under the name that clients use."""

    model: str = Field(min_length=1)
    engines: list[EngineSection] = Field(default_factory=list)
    """May be empty where `discovery` finds them."""
    on_demand: bool = False
    """Whether an engine is started when calls wait for one: while there is none, they are held and not refused."""
    rollouts: RolloutSection = Field(default_factory=RolloutSection)


def _answer(value: object) -> object:
    """The word `boxed` as the section that it stands for, and `json-path`, as it is usually spelled, as the field."""
    if isinstance(value, str):
        if value != "boxed":
            raise ValueError(f"an answer is `boxed`, or found by `regex: ...` or `json-path: ...`, not {value!r}")
        return {}
    if isinstance(value, dict):
        return {"json_path" if key == "json-path" else key: given for key, given in value.items()}
    return value


class AnswerSection(Section):
    r"""Where an answer stands in a text: in its last \boxed{...}, written `answer: boxed`, unless one of these says."""

    regex: str = ""
    """The last match's first group, or the whole match without one."""
    json_path: str = ""
    """The place in the text's last JSON object, like `result.items[0]`; `json-path` is the same."""

    @property
    def extraction(self) -> Extraction:
        """How to find it."""
        if self.regex:
            return Extraction(Rule.REGEX, self.regex)
        return Extraction(Rule.JSON_PATH, self.json_path) if self.json_path else Extraction()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.regex and self.json_path:
            raise ValueError("an answer is found by regex or by json-path, not by both")
        _ = self.extraction
        return self


class VirtualSection(Section):
    """A model name that runs a procedure over pools. Its figures are what requests get, and the most they get."""

    model: str = Field(min_length=1)
    """The name that clients use."""
    kind: Literal["atts", "best_of_n", "self_consistency"]
    """`atts` drafts with one model and continues with another; the others need `draft` alone."""
    draft: str = Field(min_length=1)
    """The pool that writes."""
    target: str = ""
    """The pool that scores segments, and continues the worst."""
    samples: int = 16
    turns: int = 15
    """The most segments that a sample drafts."""
    segment_tokens: int = 500
    takeover: float = 0.4
    """The share of segments that the target continues."""
    vote: Literal["majority", "best"] = "majority"
    """`best` takes the answer of the sample with the best mean score."""
    answer: Annotated[AnswerSection, BeforeValidator(_answer)] = AnswerSection()
    """Where an answer stands: `boxed`, `{regex: ...}` or `{json-path: ...}`."""
    decided: float | None = 0.97
    """Stop when the leading answer wins with this probability; null runs all samples to their ends."""
    certain: int | None = None
    """A sample is over when so many segments in a row show one answer."""
    warm_up: int | None = None
    """After so many samples, those less confident than the worst `discard` of them are dropped."""
    discard: float = 0.1
    strict: bool = False
    """Fail when the target does, instead of going on with the draft alone."""

    @property
    def spec(self) -> ProcedureSpec:
        """What a request runs."""
        own = self.model_dump(exclude={"model", "kind", "vote", "answer"})
        return ProcedureSpec(kind=Kind(self.kind), vote=Vote(self.vote), **own)

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if self.target and self.kind != "atts":
            raise ValueError(f"{self.kind} has one model, `draft`, and no target")
        _ = self.spec
        return self


class PriceSection(Section):
    """What one model costs, in any one currency: per million tokens, and per second that a call is on an engine."""

    input: Amount = 0.0
    """Prompt tokens that were not cached."""
    cached: Amount = 0.0
    """Prompt tokens that were."""
    output: Amount = 0.0
    engine_second: Amount = 0.0


class Limits(Section):
    """What the gateway bears from clients and engines; times in seconds."""

    body_bytes: Count = 32 * 1024 * 1024
    first_byte_hold: Duration = 10.0
    """How long a waiting call sends nothing, so that an error still has a status."""
    stall: Duration = 60.0
    """A client that reads nothing for so long is given up."""
    buffer_bytes: Count = 256 * 1024
    """What is held for a slow reader before reading from the engine pauses."""
    answer_bytes: Count = 64 * 1024 * 1024
    """The longest answer in one piece, which has to be held whole."""
    first_byte: Duration = 600.0
    """How long an engine that a stream was sent to may say nothing."""
    idle: Duration = 120.0
    """How long it may pause within an answer."""
    total: Duration = 3600.0
    """How long a call may take, waiting included."""
    drain: Duration = 30.0
    """How long calls under way have when the gateway is told to stop."""
    remembered: Count = 50_000
    """Programs that accounts are kept of, and prompts by which later calls find theirs; the oldest go first."""


class Faults(Section):
    """What is done when engines fail; times in seconds."""

    retries: Annotated[float, Field(ge=0, le=10)] = 0.2
    """Retries a call, on average over all calls; a call is tried again only before its first byte."""
    pause: Duration = 0.05
    """The longest random pause before a first retry; it doubles for the next."""
    failures: Count = 5
    """So many failures in a row make the gateway ask an engine whether it still answers."""


class LogSection(Section):
    """What the gateway writes to its standard error."""

    format: Literal["text", "json"] = "text"
    calls: bool = False
    """A line for each call that has ended: its program, decision, times and tokens."""
    prompts: bool = False
    """The whole body of each request. Off unless somebody asks: prompts are the users' own."""


class TracingSection(Section):
    """OpenTelemetry spans of programs, calls and gaps, sent to a collector by OTLP over HTTP."""

    endpoint: Annotated[str, AfterValidator(_collector)] = "http://127.0.0.1:4318"
    service: str = Field("agentserve", min_length=1)


class StoreSection(Section):
    """What several gateways share, so that they are one: see docs/scale.md."""

    redis: str = Field(pattern="^(redis|rediss|unix)://")
    """The server: redis://:PASSWORD@HOST:PORT/DATABASE."""
    cell: Name = "default"
    """Gateways of one name have one brain. It names keys in the store."""
    lease: Annotated[Duration, Field(ge=0.5)] = 1.5
    """How long the brain may be out of reach of the store before another gateway takes over."""
    channel: Annotated[str, AfterValidator(_channel)] = "127.0.0.1:0"
    """Where this gateway listens for others while it has the brain: an address that they reach, port 0 for any."""


def _objective(value: str) -> str:
    parse_objective(value)
    return value


class TuneSection(Section):
    """A search for better parameters of the policy in the background, on what was just recorded."""

    every: Duration = 600.0
    """From the end of one search, and of the trial that may follow it, to the next."""
    window: Duration = 1800.0
    """How far back a search looks."""
    objective: Annotated[str, AfterValidator(_objective)] = "mean_completion"
    """What is lowered: mean_completion, p95, attainment (programs later than their deadline), or slo@X."""
    budget: Annotated[int, Field(ge=2)] = 40
    """Settings that a search tries."""
    seeds: Annotated[int, Field(ge=2)] = 4
    """Simulations of each."""
    profile: PathText | None = None
    """The engines' speed, as `agentserve calibrate` measured it; without it, what their latest calls tell."""


def _policy(value: object) -> PolicyConfig:
    if isinstance(value, PolicyConfig):
        policy = value
    elif isinstance(value, str) and value.endswith(SUFFIXES):
        policy = read_policy(Path(value))
    else:
        policy = parse_policy(value)
    registry.build(policy)  # names of policies and their parameters are checked there
    return policy


class Config(Section):
    """The whole file."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8000"
    policy: Annotated[InstanceOf[PolicyConfig], BeforeValidator(_policy)] = PRESETS["agentserve"]
    pools: list[Pool] = Field(min_length=1)
    virtual: list[VirtualSection] = Field(default_factory=list)
    """Virtual models."""
    workflows: list[WorkflowSection] = Field(default_factory=list)
    """What is known of workflows before any traffic: their stages and the time that an analyst, say, waits for them."""
    limits: Limits = Limits()
    faults: Faults = Faults()
    program_idle_timeout: Duration = 900.0
    """A program without calls for so long, in seconds, has ended."""
    state: PathText | None = None
    """Where what was learned is loaded from and saved to."""
    discovery: DiscoverySection | None = None
    """Where engines are found that join and leave while the gateway serves."""
    store: StoreSection | None = None
    """What is shared with other gateways; without it this one is alone."""
    event_log: PathText | None = None
    """Where every event of the brain is written, for `agentserve replay-log`."""
    record: PathText | None = None
    """Where every call is recorded, without its text, to be simulated."""
    tune: TuneSection | None = None
    """Whether and how the policy's parameters are searched while the gateway serves."""
    prices: dict[str, PriceSection] = Field(default_factory=dict)
    """By model, for the cost of programs; what is left out is free."""
    log: LogSection = LogSection()
    tracing: TracingSection | None = None
    """Whether and where spans are sent."""
    allow: list[Steering] = Field(default_factory=list)
    """Engine-control fields and headers of a request that clients may send themselves."""
    keys: PathText | None = None
    """The file of API keys (`agentserve keys`); without it no key is asked for, which only loopback allows."""
    tenants: list[TenantSection] = Field(default_factory=list)
    """Tenants that differ from the usual: no limits, and a weight of 1."""
    tls: TlsSection | None = None

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def engines(self) -> Iterator[tuple[Pool, EngineSection]]:
        """Every engine with its pool, in the order of the file."""
        return ((pool, engine) for pool in self.pools for engine in pool.engines)

    @model_validator(mode="after")
    def _name_engines(self) -> Self:
        for position, (_, engine) in enumerate(self.engines):
            engine.name = engine.name or f"engine-{position}"
        if (twice := repeated(engine.name for _, engine in self.engines)) is not None:
            raise ValueError(f"engine names must differ, and {twice!r} is used more than once")
        return self

    @model_validator(mode="after")
    def _has_engines(self) -> Self:
        for pool in self.pools:
            if not pool.engines and self.discovery is None:
                raise ValueError(
                    f"pools: {pool.model!r} has no engine; name one, or say where they are with `discovery`"
                )
        return self

    @model_validator(mode="after")
    def _virtual_over_pools(self) -> Self:
        pools = {pool.model for pool in self.pools}
        names = [each.model for each in self.virtual]
        for each in self.virtual:
            if each.model in pools or names.count(each.model) > 1:
                raise ValueError(f"virtual: the name {each.model!r} is used twice")
            for used in filter(None, (each.draft, each.target)):
                if used in names:
                    raise ValueError(f"virtual: {each.model!r} uses {used!r}, which is virtual itself; name a pool")
                if used not in pools:
                    raise ValueError(f"virtual: {each.model!r} uses {used!r}; the pools are {', '.join(sorted(pools))}")
        return self

    @model_validator(mode="after")
    def _price_pools(self) -> Self:
        pools = sorted({pool.model for pool in self.pools})
        for model in self.prices:
            if model not in pools:
                raise ValueError(f"prices: {model!r} is no pool's model; the pools are {', '.join(pools)}")
        return self

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.keys is None and not _is_loopback(self.host):
            raise ValueError(
                f"listen: {self.listen} can be reached from elsewhere, and anybody could use it; name a file of API keys"
                " with `keys` (`agentserve keys create TENANT` makes one), or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _tells_tenants_apart(self) -> Self:
        names = [tenant.name for tenant in self.tenants]
        if (twice := repeated(names)) is not None:
            raise ValueError(f"tenants: the name {twice!r} is used twice")
        if self.keys is None and (others := [name for name in names if name != DEFAULT_TENANT]):
            raise ValueError(
                f"tenants: without `keys` everybody is the tenant {DEFAULT_TENANT!r}, and nobody {others[0]!r}"
            )
        if self.state is None and self.store is None and any(tenant.budget for tenant in self.tenants):
            raise ValueError("tenants: what is spent of a budget is kept in the state file; name one with `state`")
        if self.keys is not None and self.policy.fairness == NO_FAIRNESS:
            self.policy = replace(self.policy, fairness=BY_WEIGHTS)
        return self

    @model_validator(mode="after")
    def _workflows_differ(self) -> Self:
        if (twice := repeated(each.name for each in self.workflows)) is not None:
            raise ValueError(f"workflows: {twice!r} is declared more than once")
        return self

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.store is None:
            return self
        for _, engine in self.engines:
            if engine.url is None:
                raise ValueError(
                    f"store: engine {engine.name!r} would belong to one gateway; start it by itself, and name its `url`"
                )
        for name, instead in NOT_SHARED.items():
            if getattr(self, name):
                raise ValueError(f"store: {name} cannot be used with it; {instead}")
        return self

    @model_validator(mode="after")
    def _can_tune(self) -> Self:
        if self.tune is not None and self.record is None:
            raise ValueError("tune: what it simulates is what was recorded; name a file with `record`")
        if self.tune is not None and len(self.pools) > 1:
            raise ValueError(f"tune: it can simulate one pool, and there are {len(self.pools)}")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(value: object) -> Config:
    """Reads a configuration from plain data.

    Raises:
        ConfigError: something in it is wrong.
    """
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise ConfigError("\n".join(map(problem, error.errors(include_url=False)))) from None


def load(path: Path, **overrides: object) -> Config:
    """Reads a configuration file; `overrides` replace its top-level keys where they are not None.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or something in it is wrong.
    """
    try:
        value = read_yaml(path)
    except UnreadableError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be a mapping with a key `pools`, not {type(value).__name__}")
    try:
        return parse(value | {key: given for key, given in overrides.items() if given is not None})
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def default_config(model: Path, **overrides: object) -> Config:
    """One local vLLM on the demo model in the folder `model`.

    Raises:
        ConfigError: an override is wrong.
    """
    launch = {"model": str(model), "args": ["--max-model-len", "4096"]}
    pools = [{"model": DEMO_MODEL_NAME, "engines": [{"launch": launch}]}]
    return parse({"pools": pools} | {key: given for key, given in overrides.items() if given is not None})
