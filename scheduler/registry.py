"""From names to policies. A new policy is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from scheduler.admission.base import Admission
from scheduler.admission.unlimited import Unlimited
from scheduler.admission.working_set import WorkingSet
from scheduler.fairness.base import Fairness
from scheduler.fairness.none import NoFairness
from scheduler.order.base import Order
from scheduler.order.fcfs import Fcfs
from scheduler.order.program_fcfs import ProgramFcfs
from scheduler.placement.base import Placement
from scheduler.placement.least_loaded import LeastLoaded
from scheduler.placement.sticky import Sticky
from scheduler.policy import Choice, PolicyConfig, PolicyError, unknown
from scheduler.retention.base import Retention
from scheduler.retention.continuum import Continuum
from scheduler.retention.fixed_ttl import FixedTtl
from scheduler.retention.none import NoRetention

T = TypeVar("T")

FAIRNESS: Mapping[str, Callable[..., Fairness]] = {"none": NoFairness}
ORDER: Mapping[str, Callable[..., Order]] = {"fcfs": Fcfs, "program_fcfs": ProgramFcfs}
PLACEMENT: Mapping[str, Callable[..., Placement]] = {"least_loaded": LeastLoaded, "sticky": Sticky}
ADMISSION: Mapping[str, Callable[..., Admission]] = {"unlimited": Unlimited, "working_set": WorkingSet}
RETENTION: Mapping[str, Callable[..., Retention]] = {
    "none": NoRetention,
    "fixed_ttl": FixedTtl,
    "continuum": Continuum,
}


@dataclass(frozen=True, slots=True)
class Policies:
    """One policy of each kind."""

    fairness: Fairness
    order: Order
    placement: Placement
    admission: Admission
    retention: Retention


def build(config: PolicyConfig) -> Policies:
    """Makes the policies a configuration names.

    Raises:
        PolicyError: a policy or a parameter is unknown, or a parameter's value has the wrong type.
    """
    return Policies(
        _make("fairness", FAIRNESS, config.fairness),
        _make("order", ORDER, config.order),
        _make("placement", PLACEMENT, config.placement),
        _make("admission", ADMISSION, config.admission),
        _make("retention", RETENTION, config.retention),
    )


def _make(kind: str, known: Mapping[str, Callable[..., T]], choice: Choice) -> T:
    if choice.name not in known:
        raise unknown(f"{kind} policy", choice.name, list(known))
    policy = known[choice.name]
    defaults = {item.name: item.default for item in fields(policy)}  # type: ignore[arg-type]
    for name, value in choice.params:
        if name not in defaults:
            if not defaults:
                raise PolicyError(f"{kind} policy {choice.name!r} takes no parameters, not {name!r}")
            raise unknown(f"parameter of {kind} policy {choice.name!r}", name, list(defaults))
        wanted = float if isinstance(defaults[name], float) else type(defaults[name])
        accepted = (int, float) if wanted is float else wanted
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
            raise PolicyError(f"{kind}.{choice.name}.{name} must be of type {wanted.__name__}, not {value!r}")
    return policy(**dict(choice.params))
