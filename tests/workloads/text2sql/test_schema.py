from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from workloads.text2sql.databases import prepare
from workloads.text2sql.domains import HOSPITAL, SHOP
from workloads.text2sql.schema import Match, Schema


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return Schema.read(prepare(SHOP, tmp_path_factory.mktemp("databases")))


def test_a_schema_has_tables_columns_keys_and_values(shop: Schema) -> None:
    assert [table.name for table in shop.tables] == [
        *("customers", "categories", "products", "orders", "order_items", "reviews"),
    ]
    ordered, status = shop.tables[3].columns[2:]
    assert str(shop.tables[3]) == (
        "orders(id INTEGER, customer_id INTEGER -> customers.id, "
        f"ordered TEXT [{ordered.values[0]}/{ordered.values[1]}], status TEXT [{status.values[0]}/{status.values[1]}])"
    )
    assert sorted(status.values) == ["cancelled", "delivered", "open", "returned", "shipped"]


def test_only_some_tables_are_left_and_all_if_none_is_known(shop: Schema) -> None:
    assert [table.name for table in shop.only(["Orders", "reviews", "nonsense"]).tables] == ["orders", "reviews"]
    assert shop.only(["nonsense"]) == shop


def test_tables_are_named_by_their_names_and_by_their_values(shop: Schema, tmp_path: Path) -> None:
    assert shop.named_in("Which category has the most?") == ["categories"]
    assert shop.named_in("Who lives in Vienna?") == ["customers"]
    assert shop.named_in("How many orders were cancelled?") == ["orders"]
    assert shop.named_in("What is it?") == []
    hospital = Schema.read(prepare(HOSPITAL, tmp_path))
    assert hospital.named_in("How many diagnoses did a doctor make?") == ["doctors", "diagnoses"]


def test_a_word_finds_the_value_that_is_most_like_it(shop: Schema) -> None:
    assert shop.matches(["Viena", "canceled", "nothing like it"]) == [
        Match("Viena", "customers.city", ("Vienna",)),
        Match("canceled", "orders.status", ("cancelled",)),
    ]


def test_a_foreign_database_with_odd_names_is_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            'CREATE TABLE "an ""odd"" name" ("a b" VARCHAR(10), n, parent REFERENCES other); CREATE TABLE other (id);'
            'INSERT INTO "an ""odd"" name" VALUES (\'yes\', 1, NULL), (x\'ff\', 2, NULL);'
        )
    table = Schema.read(path).tables[0]
    assert str(table) == 'an "odd" name(a b VARCHAR(10) [yes], n, parent -> other.parent)'
    assert table.columns[0].values == ("yes",)
