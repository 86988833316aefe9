from __future__ import annotations

from workloads.text2sql.score import same_result

ANY, SORTED = "SELECT a FROM t", "SELECT a FROM t ORDER BY a LIMIT 2"


def test_the_order_of_rows_counts_only_where_the_gold_sql_sorts() -> None:
    assert same_result(ANY, [("a",), ("b",)], [("b",), ("a",)])
    assert not same_result(SORTED, [("a",), ("b",)], [("b",), ("a",)])
    assert same_result("SELECT a FROM (SELECT a FROM t ORDER BY a)", [("a",), ("b",)], [("b",), ("a",)])


def test_rows_count_as_often_as_they_are_there() -> None:
    assert not same_result(ANY, [("a",), ("a",)], [("a",)])
    assert not same_result(ANY, [("a",)], [])


def test_numbers_agree_in_four_decimals_whatever_their_type() -> None:
    assert same_result(ANY, [(1,), (0.33333333,)], [(1.0,), (0.33333334,)])
    assert not same_result(ANY, [(0.333,)], [(0.334,)])
    assert not same_result(ANY, [("1",)], [(1,)])


def test_columns_must_be_those_asked_for() -> None:
    assert not same_result(ANY, [("a",)], [("a", 1)])
