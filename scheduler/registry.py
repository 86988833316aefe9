"""From names to policies. A new policy is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar, cast

from scheduler.admission.base import Admission, Overseer
from scheduler.admission.in_time import InTime
from scheduler.admission.memory import Memory
from scheduler.admission.past_future import PastFuture
from scheduler.admission.saturation import Saturation
from scheduler.admission.unlimited import Unlimited
from scheduler.admission.working_set import WorkingSet
from scheduler.fairness.base import Fairness
from scheduler.fairness.none import NoFairness
from scheduler.fairness.virtual_token_counter import VirtualTokenCounter
from scheduler.listener import Listener
from scheduler.order.attained_service import AttainedService
from scheduler.order.base import Order, Triage
from scheduler.order.edf import EarliestDeadline
from scheduler.order.expected_remaining import ExpectedRemaining
from scheduler.order.fcfs import Fcfs
from scheduler.order.least_attained import LeastAttained
from scheduler.order.least_laxity import LeastLaxity
from scheduler.order.modified_due_date import ModifiedDueDate
from scheduler.order.program_fcfs import ProgramFcfs
from scheduler.order.punctual import Punctual
from scheduler.order.urgency import Urgency
from scheduler.placement.balanced import Balanced
from scheduler.placement.base import Placement
from scheduler.placement.earliest_finish import EarliestFinish
from scheduler.placement.least_delay import LeastDelay
from scheduler.placement.least_loaded import LeastLoaded
from scheduler.placement.round_robin import RoundRobin
from scheduler.placement.short_anywhere import ShortAnywhere
from scheduler.placement.sticky import Sticky
from scheduler.policy import Choice, PolicyConfig, PolicyError, Value, unknown
from scheduler.presets.thunderagent import ThunderAgent
from scheduler.presets.vllm_router import VllmRouter
from scheduler.retention.base import Retention
from scheduler.retention.break_even import BreakEven
from scheduler.retention.continuum import Continuum
from scheduler.retention.continuum_code import ContinuumCode
from scheduler.retention.fixed_ttl import FixedTtl
from scheduler.retention.none import NoRetention
from scheduler.retention.preserve_discard import PreserveDiscard

T = TypeVar("T")

FAIRNESS: Mapping[str, Callable[..., Fairness]] = {"none": NoFairness, "virtual_token_counter": VirtualTokenCounter}
ORDER: Mapping[str, Callable[..., Order]] = {
    "fcfs": Fcfs,
    "program_fcfs": ProgramFcfs,
    "attained_service": AttainedService,
    "least_attained": LeastAttained,
    "expected_remaining": ExpectedRemaining,
    "edf": EarliestDeadline,
    "least_laxity": LeastLaxity,
    "modified_due_date": ModifiedDueDate,
    "urgency": Urgency,
    "punctual": Punctual,
}
PLACEMENT: Mapping[str, Callable[..., Placement]] = {
    "least_loaded": LeastLoaded,
    "sticky": Sticky,
    "short_anywhere": ShortAnywhere,
    "round_robin": RoundRobin,
    "balanced": Balanced,
    "earliest_finish": EarliestFinish,
    "least_delay": LeastDelay,
    "thunderagent": ThunderAgent,
    "vllm_router": VllmRouter,
}
ADMISSION: Mapping[str, Callable[..., Admission]] = {
    "unlimited": Unlimited,
    "working_set": WorkingSet,
    "memory": Memory,
    "in_time": InTime,
    "past_future": PastFuture,
    "saturation": Saturation,
    "thunderagent": ThunderAgent,
    "vllm_router": VllmRouter,
}
RETENTION: Mapping[str, Callable[..., Retention]] = {
    "none": NoRetention,
    "break_even": BreakEven,
    "fixed_ttl": FixedTtl,
    "continuum": Continuum,
    "continuum_code": ContinuumCode,
    "preserve_discard": PreserveDiscard,
}

POLICIES: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "fairness": FAIRNESS,
    "order": ORDER,
    "placement": PLACEMENT,
    "admission": ADMISSION,
    "retention": RETENTION,
}
"""All of them by kind."""


@dataclass(frozen=True, slots=True)
class Policies:
    """One policy of each kind. A class that fills several roles, by the same choice in each, is there once."""

    fairness: Fairness
    order: Order
    placement: Placement
    admission: Admission
    retention: Retention
    listeners: tuple[Listener, ...] = ()
    """Those of them that want to be told what happens."""
    overseer: Overseer | None = None
    """The admission policy, if it decides on all programs together."""
    triage: Triage | None = None
    """The order, if it tells which calls are too late."""


def build(config: PolicyConfig) -> Policies:
    """Makes the policies a configuration names.

    Raises:
        PolicyError: a policy or a parameter is unknown, or a parameter's value has the wrong type.
    """
    made: dict[object, object] = {}
    admission = _make("admission", ADMISSION, config.admission, made)
    order = _make("order", ORDER, config.order, made)
    return Policies(
        _make("fairness", FAIRNESS, config.fairness, made),
        order,
        _make("placement", PLACEMENT, config.placement, made),
        admission,
        _make("retention", RETENTION, config.retention, made),
        tuple(policy for policy in made.values() if isinstance(policy, Listener)),
        admission if isinstance(admission, Overseer) else None,
        order if isinstance(order, Triage) else None,
    )


def _make(kind: str, known: Mapping[str, Callable[..., T]], choice: Choice, made: dict[object, object]) -> T:
    policy, params = _checked(kind, known, choice)
    shared = (policy, choice.params)
    if shared not in made:
        made[shared] = policy(**params)
    return cast("T", made[shared])


def _checked(
    kind: str, known: Mapping[str, Callable[..., T]], choice: Choice
) -> tuple[Callable[..., T], dict[str, Value]]:
    if choice.name not in known:
        raise unknown(f"{kind} policy", choice.name, list(known))
    policy = known[choice.name]
    defaults = {item.name: item.default for item in fields(policy) if item.init}  # type: ignore[arg-type]
    for name, value in choice.params:
        if name not in defaults:
            if not defaults:
                raise PolicyError(f"{kind} policy {choice.name!r} takes no parameters, not {name!r}")
            raise unknown(f"parameter of {kind} policy {choice.name!r}", name, list(defaults))
        wanted = float if isinstance(defaults[name], float) else type(defaults[name])
        accepted = (int, float) if wanted is float else wanted
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
            raise PolicyError(f"{kind}.{choice.name}.{name} must be of type {wanted.__name__}, not {value!r}")
    return policy, dict(choice.params)
