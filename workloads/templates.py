"""Stage templates: the first part of a stage's prompts, which is the same for every program of the workflow.

Traces of lengths do not say what prompts share. In Text-to-SQL workflows instructions and examples of a stage are
46 to 64 % of all prompt tokens; how much of them a cache may keep is a parameter here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from workloads.program import Call, Program, SharedPrefix, Tokens, WorkloadError


def share_templates(programs: Sequence[Program], share: float) -> list[Program]:
    """The programs, with prompts of which that share is the template of their stage.

    A template is as long as that share of the mean prompt of its stage, in every prompt of it. No prompt gets longer.
    Calls without a stage, with a history or with a prefix already stay as they are.

    Raises:
        WorkloadError: the share is not from 0 to 1.
    """
    check_share(share)
    lengths = {stage: round(share * mean) for stage, mean in _means(programs).items()}
    return [with_templates(program, lengths) for program in programs]


def with_templates(program: Program, lengths: Mapping[str, Tokens]) -> Program:
    """The program, with prompts that begin with their stage's template; at least one token of each stays its own."""
    return replace(program, calls=tuple(_begun(program.workflow, call, lengths) for call in program.calls))


def check_share(share: float) -> None:
    """Checks a template's share of a prompt.

    Raises:
        WorkloadError: it is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise WorkloadError(f"the template's share of a prompt is from 0 to 1, not {share!r}")


def _means(programs: Iterable[Program]) -> Mapping[str, float]:
    """The mean length of each stage's prompts, of those that a template can begin."""
    lengths: dict[str, list[Tokens]] = {}
    for program in programs:
        for call in _fresh(program.calls):
            lengths.setdefault(call.stage, []).append(call.new_tokens)
    return {stage: fmean(found) for stage, found in lengths.items()}


def _fresh(calls: Iterable[Call]) -> Iterator[Call]:
    return (call for call in calls if call.stage and call.context is None and not call.prefix)


def _begun(workflow: str, call: Call, lengths: Mapping[str, Tokens]) -> Call:
    tokens = min(lengths.get(call.stage, 0), call.new_tokens - 1)
    if tokens < 1 or call.context is not None or call.prefix:
        return call
    template = SharedPrefix(f"{workflow}/{call.stage}", tokens)
    return replace(call, new_tokens=call.new_tokens - tokens, prefix=(template,))
