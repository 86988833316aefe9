"""A bank: clients hold accounts at branches, move money, borrow and have cards."""

from __future__ import annotations

import sqlite3
from random import Random

from workloads.text2sql.domain import CITIES, Domain, Pair, day, insert, person

_DDL = """
CREATE TABLE branches (id INTEGER PRIMARY KEY, city TEXT, region TEXT, opened TEXT);
CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT, gender TEXT, born TEXT, city TEXT);
CREATE TABLE accounts (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES clients (id), branch_id INTEGER REFERENCES branches (id), kind TEXT, opened TEXT, balance REAL);
CREATE TABLE transactions (id INTEGER PRIMARY KEY, account_id INTEGER REFERENCES accounts (id), booked TEXT, kind TEXT, amount REAL);
CREATE TABLE loans (id INTEGER PRIMARY KEY, account_id INTEGER REFERENCES accounts (id), granted TEXT, amount REAL, months INTEGER, status TEXT);
CREATE TABLE cards (id INTEGER PRIMARY KEY, account_id INTEGER REFERENCES accounts (id), type TEXT, issued TEXT);
"""
_REGIONS = ("North", "South", "East", "West")


def _fill(connection: sqlite3.Connection, rng: Random) -> None:
    branches = [
        (number, city, _REGIONS[number % len(_REGIONS)], day(rng, 1990, 2015)) for number, city in enumerate(CITIES, 1)
    ]
    insert(connection, "branches", list(branches))
    clients = [
        (number, person(rng), rng.choice("FM"), day(rng, 1945, 2004), rng.choice(CITIES)) for number in range(1, 261)
    ]
    insert(connection, "clients", list(clients))
    kinds = ("checking", "savings", "deposit")
    accounts = [
        (
            number,
            rng.randint(1, 250),
            rng.randint(1, len(CITIES)),
            rng.choices(kinds, (6, 3, 1))[0],
            day(rng, 2010, 2022),
            round(rng.lognormvariate(8, 1.2) - 800, 2),
        )
        for number in range(1, 401)
    ]
    insert(connection, "accounts", list(accounts))
    moves_of = ("deposit", "withdrawal", "transfer", "fee")
    moves = [
        (
            number,
            rng.randint(1, 400),
            day(rng),
            rng.choices(moves_of, (4, 4, 3, 1))[0],
            round(rng.lognormvariate(5, 1), 2),
        )
        for number in range(1, 4001)
    ]
    insert(connection, "transactions", list(moves))
    statuses = ("running", "paid", "late", "defaulted")
    terms = (12, 24, 36, 48, 60)
    loans = [
        (
            number,
            account,
            day(rng, 2015, 2024),
            float(rng.randrange(1000, 60_000, 500)),
            rng.choice(terms),
            rng.choices(statuses, (8, 6, 2, 1))[0],
        )
        for number, account in enumerate(rng.sample(range(1, 401), 150), 1)
    ]
    insert(connection, "loans", list(loans))
    types = ("debit", "classic", "gold")
    cards = [
        (number, rng.randint(1, 380), rng.choices(types, (6, 3, 1))[0], day(rng, 2018, 2024))
        for number in range(1, 301)
    ]
    insert(connection, "cards", list(cards))


_EXAMPLES = (
    Pair("How many clients are there?", "SELECT COUNT(*) FROM clients"),
    Pair("List the cities of branches in the East region.", "SELECT city FROM branches WHERE region = 'East'"),
    Pair("What is the largest balance?", "SELECT MAX(balance) FROM accounts"),
    Pair("How many loans were paid?", "SELECT COUNT(*) FROM loans WHERE status = 'paid'"),
    Pair("How many cards of each type exist?", "SELECT type, COUNT(*) FROM cards GROUP BY type"),
    Pair(
        "Which client has the most accounts?",
        "SELECT c.name FROM clients c JOIN accounts a ON a.client_id = c.id GROUP BY c.id ORDER BY COUNT(*) DESC, c.id LIMIT 1",
    ),
    Pair(
        "What is the average balance of accounts in Lyon?",
        "SELECT AVG(a.balance) FROM accounts a JOIN branches b ON a.branch_id = b.id WHERE b.city = 'Lyon'",
    ),
    Pair("What is the sum of all fees?", "SELECT SUM(amount) FROM transactions WHERE kind = 'fee'"),
)

_QUESTIONS = (
    Pair("How many savings accounts are there?", "SELECT COUNT(*) FROM accounts WHERE kind = 'savings'"),
    Pair(
        "How many female clients live in Madrid?", "SELECT COUNT(*) FROM clients WHERE gender = 'F' AND city = 'Madrid'"
    ),
    Pair("What is the total amount of running loans?", "SELECT SUM(amount) FROM loans WHERE status = 'running'"),
    Pair("What is the average loan amount for each status?", "SELECT status, AVG(amount) FROM loans GROUP BY status"),
    Pair("How many accounts have a negative balance?", "SELECT COUNT(*) FROM accounts WHERE balance < 0"),
    Pair(
        "List the names of the five oldest clients.",
        "SELECT name FROM clients ORDER BY born LIMIT 5",
    ),
    Pair(
        "How many accounts does each branch city have?",
        "SELECT b.city, COUNT(*) FROM accounts a JOIN branches b ON a.branch_id = b.id GROUP BY b.city",
    ),
    Pair(
        "Which region has the largest total balance?",
        "SELECT b.region FROM accounts a JOIN branches b ON a.branch_id = b.id GROUP BY b.region ORDER BY SUM(a.balance) DESC LIMIT 1",
    ),
    Pair(
        "How many clients have a gold card?",
        "SELECT COUNT(DISTINCT a.client_id) FROM cards c JOIN accounts a ON c.account_id = a.id WHERE c.type = 'gold'",
    ),
    Pair("How many loans run for 60 months?", "SELECT COUNT(*) FROM loans WHERE months = 60"),
    Pair(
        "What is the total amount of withdrawals in 2022?",
        "SELECT SUM(amount) FROM transactions WHERE kind = 'withdrawal' AND booked BETWEEN '2022-01-01' AND '2022-12-31'",
    ),
    Pair(
        "What is the largest transfer?",
        "SELECT MAX(amount) FROM transactions WHERE kind = 'transfer'",
    ),
    Pair(
        "How many clients have no account?",
        "SELECT COUNT(*) FROM clients WHERE id NOT IN (SELECT client_id FROM accounts)",
    ),
    Pair(
        "List the names of clients with a defaulted loan.",
        "SELECT DISTINCT c.name FROM clients c JOIN accounts a ON a.client_id = c.id JOIN loans l ON l.account_id = a.id WHERE l.status = 'defaulted'",
    ),
    Pair(
        "What is the largest number of transactions of a single account?",
        "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM transactions GROUP BY account_id)",
    ),
    Pair(
        "How many accounts were opened before 2015?",
        "SELECT COUNT(*) FROM accounts WHERE opened < '2015-01-01'",
    ),
    Pair(
        "What percentage of loans is late?",
        "SELECT 100.0 * SUM(status = 'late') / COUNT(*) FROM loans",
    ),
    Pair(
        "How many transactions of each kind were booked in 2024?",
        "SELECT kind, COUNT(*) FROM transactions WHERE booked >= '2024-01-01' GROUP BY kind",
    ),
    Pair(
        "Which client has the highest total balance?",
        "SELECT c.name FROM clients c JOIN accounts a ON a.client_id = c.id GROUP BY c.id ORDER BY SUM(a.balance) DESC LIMIT 1",
    ),
    Pair(
        "What is the average loan amount of clients from Paris?",
        "SELECT AVG(l.amount) FROM loans l JOIN accounts a ON l.account_id = a.id JOIN clients c ON a.client_id = c.id WHERE c.city = 'Paris'",
    ),
)

BANK = Domain("bank", _DDL, _fill, _EXAMPLES, _QUESTIONS)
