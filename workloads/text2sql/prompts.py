"""What each stage asks. A prompt is the stage's template, the same for every question, and what is asked this time.

The template comes first, as the system message, so that its KV is computed once and serves every question that comes to
the same engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Messages: TypeAlias = list[dict[str, str]]


class Stage(StrEnum):
    """The stages, in the order in which they begin."""

    SCHEMA = "retrieve_schema"
    KEYWORDS = "extract_keywords"
    RETRIEVE = "retrieve"
    CANDIDATE = "generate_candidate"
    REVISE = "revise"
    UNIT_TESTS = "generate_unit_tests"
    EVALUATE = "evaluate"
    SELECT = "select"


@dataclass(frozen=True, slots=True)
class Template:
    """A stage's template with how its answers are drawn. `stop` ends an answer, which is `max_tokens` long at most."""

    system: str
    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()

    def messages(self, *parts: str) -> Messages:
        """The prompt that asks these parts."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": "\n\n".join(part for part in parts if part)},
        ]

    def fields(self) -> dict[str, object]:
        """What goes into the request beside the prompt."""
        fields: dict[str, object] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return fields | ({"stop": list(self.stop)} if self.stop else {})


_LIBRARY = """\
authors(id INTEGER, name TEXT, country TEXT [Italy/Mali])
books(id INTEGER, title TEXT, author_id INTEGER -> authors.id, year INTEGER, pages INTEGER)
members(id INTEGER, name TEXT, city TEXT [Rome/Oslo], joined TEXT)
loans(id INTEGER, book_id INTEGER -> books.id, member_id INTEGER -> members.id, taken TEXT, returned TEXT)"""

_RULES = """\
Rules for the SQL:
- The database is SQLite. Write exactly one SELECT statement and end it with a semicolon.
- Use only tables and columns of the given schema. An arrow shows which column a foreign key refers to: join on it. Brackets show values.
- Return only the columns that the question asks for, in the order in which it names them.
- Write values exactly as they are given to you. Dates are text such as '2023-05-17' and compare as text.
- Count with COUNT(*), and count different things with COUNT(DISTINCT column).
- For the largest or smallest use ORDER BY with LIMIT, or MAX and MIN if only the number is asked for."""

_SCHEMA = f"""\
You choose the tables of a database that are needed to answer a question. Read the schema, think of which tables hold
what is asked for, which hold the conditions, and which join them. Answer with the names of these tables, separated by
commas, and with nothing else. Leave out tables that are not needed; never invent a table.

Example of a schema:
{_LIBRARY}
Question: How many members are there? Answer: members
Question: Which author wrote the longest book? Answer: books, authors
Question: How many books did members from Rome take in 2022? Answer: members, loans
Question: List the titles of books that were never lent. Answer: books, loans
Question: Which country's authors are read most? Answer: authors, books, loans
Question: On which day was the most recent loan? Answer: loans"""

_KEYWORDS = """\
You extract keywords from a question about a database. A keyword is a name, a place, a category, a status, a year or
another value that may be stored in a column. Words such as how, many, list, average and total are no keywords. Answer
with the keywords, separated by commas, as they stand in the question.
Question: How many books by authors from Italy were lent in 2022? Answer: books, authors, Italy, 2022
Question: List the names of members in Rome with an open loan. Answer: members, Rome, open
Question: What is the average number of pages of crime novels? Answer: pages, crime"""

_RETRIEVE = """\
You decide which stored value a word of a question means. You are given the question, the word, and numbered values of a
column. Answer with the number of the value that is meant, or with 0 if none of them is. Do not explain.
Question: How many members live in Rom? Word: Rom. Column: members.city. 1: Rome 2: Prome Answer: 1
Question: Which authors are Italian? Word: Italian. Column: authors.country. 1: Mali 2: Italy Answer: 2
Question: How many pages are there? Word: pages. Column: books.title. 1: Sages 2: Stages Answer: 0"""

_DIVIDE = f"""\
You translate questions into SQL. Divide the question into smaller ones, solve each with a part of a query, and put the
parts together. Answer with the final SQL only.

{_RULES}

Example of a schema:
{_LIBRARY}
Question: How many books have more than 300 pages?
Parts: books -> FROM books; more than 300 pages -> WHERE pages > 300; how many -> COUNT(*)
SQL: SELECT COUNT(*) FROM books WHERE pages > 300;
Question: Which author wrote the most books?
Parts: books of each author -> JOIN, GROUP BY; the most -> ORDER BY COUNT(*) DESC LIMIT 1; which author -> name
SQL: SELECT a.name FROM authors a JOIN books b ON b.author_id = a.id GROUP BY a.id ORDER BY COUNT(*) DESC LIMIT 1;"""

_PLAN = f"""\
You translate questions into SQL. Plan as a database would: which tables are scanned, how they are joined, which rows are
kept, how they are grouped and sorted, and which columns come out. Answer with the final SQL only.

{_RULES}

Example of a schema:
{_LIBRARY}
Question: How many members joined in each city?
Plan: scan members; group by city; output city and the count
SQL: SELECT city, COUNT(*) FROM members GROUP BY city;
Question: What is the average number of pages of books by authors from Italy?
Plan: scan authors, keep Italy; join books; average pages
SQL: SELECT AVG(b.pages) FROM books b JOIN authors a ON b.author_id = a.id WHERE a.country = 'Italy';"""

_REVISE = f"""\
You repair SQL. You are given a schema, a question, a query that failed and what the database said of it. Find the
mistake and answer with the corrected query only. If it names a table or a column that does not exist, use the one
that does; if it returned nothing, look at the values in its conditions; if it took too long, a join has no condition.

{_RULES}

Question: Who joined in 2023?
Query: SELECT nam FROM members WHERE joined >= '2023-01-01' -> failed: no such column: nam
SQL: SELECT name FROM members WHERE joined >= '2023-01-01';"""

_UNIT_TESTS = """\
You write unit tests for SQL. You are given a question and several candidate queries with their results. Write up to three
short statements, one a line, that hold for a right query and fail for at least one of the others. A good statement names
one thing: a condition that must be there, a table that must be joined, the columns that come out, the number of rows, or
the order. Do not write SQL and do not say which candidate is right.
Example for the question "How many books have more than 300 pages?":
- The query keeps only books with more than 300 pages.
- The result is one row with one number.
- The query counts books and not authors."""

_EVALUATE = """\
You judge candidate queries by one unit test. You are given a question, numbered candidates with their results, and the
test. Answer with the numbers of the candidates that pass the test, separated by commas, or with 0 if none does. A
candidate that failed to run passes no test. Judge by the test alone, not by style or length.
Example: Test: The result is one row with one number. 1: SELECT COUNT(*) FROM books -> 12. 2: SELECT title FROM books
-> Emma; Ulysses. Answer: 1"""

_SELECT = """\
You choose the best of several candidate queries. You are given a question, and numbered candidates with their results and
with how many unit tests each has passed. Prefer a candidate that passed more tests; among equals, prefer the one whose
result has the form that the question asks for: one number for how many, names for who or which. Never choose a candidate
that failed to run if another one ran. Answer with the number of the candidate and nothing else.
Example: How many books are there? 1: SELECT title FROM books -> Emma; Ulysses (0 passed) 2: SELECT COUNT(*) FROM books
-> 12 (3 passed). Answer: 2"""

TEMPLATES: Mapping[Stage, Template] = {
    Stage.SCHEMA: Template(_SCHEMA, 24, stop=("\n",)),
    Stage.KEYWORDS: Template(_KEYWORDS, 24, stop=("\n",)),
    Stage.RETRIEVE: Template(_RETRIEVE, 4, stop=("\n",)),
    Stage.CANDIDATE: Template(_DIVIDE, 72, 0.4, stop=(";",)),
    Stage.REVISE: Template(_REVISE, 72, 0.6, stop=(";",)),
    Stage.UNIT_TESTS: Template(_UNIT_TESTS, 60, 0.4),
    Stage.EVALUATE: Template(_EVALUATE, 8, stop=("\n",)),
    Stage.SELECT: Template(_SELECT, 4, stop=("\n",)),
}
GENERATORS: Sequence[Template] = (TEMPLATES[Stage.CANDIDATE], Template(_PLAN, 72, 0.4, stop=(";",)))
"""Templates of the candidates, in turns: different ways to think make different mistakes."""
