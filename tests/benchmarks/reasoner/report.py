"""What the arms did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from scheduler.procedures.base import Stage
from simulator.intervals import Ratio, paired_ratio
from tests.benchmarks.reasoner.arms import ALONE, ARMS, BARRIER, BEST, FREE, OURS
from tests.benchmarks.reasoner.pair import DRAFT, TARGET


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one arm. `counts` are verifications, takeovers, and output tokens by model.

    `busy` are the seconds in which a model had a call.
    """

    question: int
    arm: str
    seconds: float
    right: bool
    answer: str | None
    counts: dict[str, int]
    busy: dict[str, float]


def rate_of(asked: Sequence[Asked]) -> float | None:
    """The share of checked segments that the target continued."""
    checked = sum(each.counts.get(Stage.VERIFY, 0) for each in asked)
    return sum(each.counts.get(Stage.TAKEOVER, 0) for each in asked) / checked if checked else None


def figures(asked: Sequence[Asked], asked_rate: float) -> dict[str, object]:
    """Everything that is reported, but the single answers."""
    by_arm = {arm: [each for each in asked if each.arm == arm] for arm in ARMS}
    ratios = {
        f"{slower} / {faster}": _ratio(by_arm[slower], by_arm[faster])
        for slower, faster in ((BARRIER, FREE), (BARRIER, OURS), (BEST, OURS), (ALONE, OURS))
    }
    rate = rate_of(asked)
    return {
        "questions": len({each.question for each in asked}),
        "arms": {arm: _row(found) for arm, found in by_arm.items()},
        "busier model of barrier": _bound(by_arm[BARRIER]),
        "time to answer": {name: asdict(ratio) if ratio else None for name, ratio in ratios.items()},
        "takeover rate": {"asked": asked_rate, "found": rate},
        "target tokens, best of n / ours": _tokens(by_arm[BEST], TARGET) / max(1, _tokens(by_arm[OURS], TARGET)),
    }


def _ratio(slower: Sequence[Asked], faster: Sequence[Asked]) -> Ratio | None:
    return paired_ratio([each.seconds for each in slower], [each.seconds for each in faster])


def _bound(asked: Sequence[Asked]) -> float:
    """What removing barriers could give at most, were it the same work: as if the busier model never waited."""
    return sum(each.seconds for each in asked) / sum(max(each.busy.values()) for each in asked)


def _row(asked: Sequence[Asked]) -> dict[str, float | None]:
    return {
        "mean seconds": fmean(each.seconds for each in asked),
        "longest seconds": max(each.seconds for each in asked),
        "draft tokens": _tokens(asked, DRAFT) / len(asked),
        "target tokens": _tokens(asked, TARGET) / len(asked),
        "draft busy": _busy(asked, DRAFT),
        "target busy": _busy(asked, TARGET),
        "checked": sum(each.counts.get(Stage.VERIFY, 0) for each in asked) / len(asked),
        "takeover rate": rate_of(asked),
        "answered": fmean(each.answer is not None for each in asked),
        "right": fmean(each.right for each in asked),
    }


def _busy(asked: Sequence[Asked], model: str) -> float:
    return sum(each.busy.get(model, 0.0) for each in asked) / sum(each.seconds for each in asked)


def _tokens(asked: Sequence[Asked], model: str) -> int:
    return sum(each.counts.get(model, 0) for each in asked)


def markdown(report: dict[str, object]) -> str:
    """The tables for people."""
    found = report["figures"]
    assert isinstance(found, dict)
    columns = list(next(iter(found["arms"].values())))
    rate = found["takeover rate"]
    lines = [
        "# Virtual models on two engines",
        "",
        f"{report['what']}",
        "",
        f"{found['questions']} questions, one after the other; all arms are asked each, in turn. {report['budget']}.",
        f"Command: `{report['command']}`.",
        "",
        f"| arm | {' | '.join(columns)} |",
        f"|---{'|---:' * len(columns)}|",
        *(f"| {arm} | {' | '.join(_cell(row[name]) for name in columns)} |" for arm, row in found["arms"].items()),
        "",
        "Tokens and checked segments are a question's, in the mean; busy is the share of the time in which a model had a call.",
        "",
        "| figure | asked | found |",
        "|---|---|---|",
        f"| takeover rate, pooled | {rate['asked']:.2f} +- 0.05 | {_cell(rate['found'])} |",
    ]
    bound = found["busier model of barrier"]
    lines.append(
        f"| time to answer, {BARRIER} / the same work if its busier model never waited | - | at most {bound:.2f}x |"
    )
    wanted = {f"{BARRIER} / {FREE}": "1.2x", f"{BARRIER} / {OURS}": "1.8x", f"{BEST} / {OURS}": "published: 5.4x-14.5x"}
    for name, ratio in found["time to answer"].items():
        lines.append(f"| time to answer, {name} | {wanted.get(name, '-')} | {_ratio_cell(ratio)} |")
    lines.append(f"| target tokens, best of n / ours | 2x | {found['target tokens, best of n / ours']:.2f}x |")
    return "\n".join([*lines, "", f"{report['note']}", ""])


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _ratio_cell(ratio: dict[str, float | None] | None) -> str:
    if ratio is None:
        return "-"
    low, high = ratio["low"], ratio["high"]
    return f"{ratio['value']:.2f}x" + (f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else "")
