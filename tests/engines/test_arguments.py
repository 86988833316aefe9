from __future__ import annotations

import pytest

from agentserve.engines.arguments import value_of


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ([], None),
        (["--max-num-seqs", "8"], "8"),
        (["--max-num-seqs=8"], "8"),
        (["--max_num_seqs=8"], "8"),
        (["--max-num-seqs", "8", "--max-num-seqs", "9"], "9"),
        (["--max-num-seqs"], ""),
        (["--max-num-seqs", "--other"], ""),
        (["--max-num-seqs-else", "8"], None),
    ],
)
def test_the_last_value_given_is_the_one_that_counts(args: list[str], value: str | None) -> None:
    assert value_of(args, "--max-num-seqs") == value
