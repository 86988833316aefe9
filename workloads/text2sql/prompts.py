"""What each stage asks. A prompt is the stage's template, the same for every question, and what is asked this time.

The template comes first, as the system message and solved examples after it, so that its KV is computed once and serves
every question that comes to the same engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
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
    """A stage's template with how its answers are drawn. `stop` ends an answer, which is `max_tokens` long at most.

    `shots` are what was asked and answered before: small models follow what they seem to have said themselves.
    """

    system: str
    shots: tuple[tuple[str, str], ...]
    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()

    def messages(self, turns: Sequence[str]) -> Messages:
        """The prompt that goes on with these turns, of the user and the assistant by turns, the user's last."""
        return [*self._own(), *_turns(turns)]

    def share(self, turns: Sequence[str]) -> float:
        """Of the prompt's characters, those that it has in common with all others of its stage."""
        own, whole = (sum(len(message["content"]) for message in part) for part in (self._own(), self.messages(turns)))
        return own / whole

    def fields(self) -> dict[str, object]:
        """What goes into the request beside the prompt."""
        fields: dict[str, object] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return fields | ({"stop": list(self.stop)} if self.stop else {})

    def _own(self) -> Messages:
        texts = [text for shot in self.shots for text in shot]
        return [{"role": "system", "content": self.system}, *_turns(texts)]


def _turns(texts: Sequence[str]) -> Messages:
    return [{"role": role, "content": text} for role, text in zip(cycle(("user", "assistant")), texts)]


_LIBRARY = """\
Schema:
authors(id INTEGER, name TEXT, country TEXT [Italy/Mali])
books(id INTEGER, title TEXT, author_id INTEGER -> authors.id, year INTEGER, pages INTEGER)
members(id INTEGER, name TEXT, city TEXT [Rome/Oslo], joined TEXT)
loans(id INTEGER, book_id INTEGER -> books.id, member_id INTEGER -> members.id, taken TEXT)"""

_RULES = """\
- The database is SQLite. Write exactly one SELECT statement and end it with a semicolon.
- Use only tables and columns of the schema. An arrow shows the key to join on. Brackets show values.
- Return only the columns that the question asks for. Write values exactly as they are given.
- Count with COUNT(*), and different things with COUNT(DISTINCT column). For the largest use ORDER BY with LIMIT, or MAX.
- Dates are text such as '2023-05-17'. Write no words before or after the SQL."""

_MANY_PAGES = ("How many books have more than 300 pages?", "SELECT COUNT(*) FROM books WHERE pages > 300;")
_BY_CITY = ("How many members joined in each city?", "SELECT city, COUNT(*) FROM members GROUP BY city;")
_TOP_AUTHOR = (
    "Which author wrote the most books?",
    "SELECT a.name FROM authors a JOIN books b ON b.author_id = a.id GROUP BY a.id ORDER BY COUNT(*) DESC LIMIT 1;",
)
_ITALIAN = (
    "What is the average number of pages of books by authors from Italy?",
    "SELECT AVG(b.pages) FROM books b JOIN authors a ON b.author_id = a.id WHERE a.country = 'Italy';",
)

_SCHEMA = Template(
    "You choose the tables of a database that are needed to answer a question: those that hold what is asked for, those "
    "that hold the conditions, and those that join them. Answer with their names, separated by commas, and nothing else.",
    (
        (f"{_LIBRARY}\n\nQuestion: How many members are there?", "members"),
        ("Question: Which author wrote the longest book?", "books, authors"),
        ("Question: How many books did members from Rome take?", "members, loans"),
    ),
    24,
    stop=("\n",),
)

_KEYWORDS = Template(
    "You extract keywords from a question: names, places, categories, states and other values that a database may hold. "
    "Answer with the keywords as they stand in the question, separated by commas, and nothing else.",
    (
        ("Question: How many books by authors from Italy were lent in 2022?", "books, authors, Italy, 2022"),
        ("Question: List the names of members in Rome.", "members, Rome"),
    ),
    24,
    stop=("\n",),
)

_RETRIEVE = Template(
    "You decide which stored value a word of a question means. Answer with the number of the value, or with 0 if it is none.",
    (
        ("Question: How many members live in Rom?\n\nWord: Rom. Column: members.city. 1: Prome 2: Rome", "2"),
        ("Question: Who is Italian?\n\nWord: Italian. Column: authors.country. 1: Italy 2: Mali", "1"),
    ),
    4,
    stop=("\n",),
)

_DIVIDE = Template(
    "You translate questions into SQL. Divide the question into parts, solve each with a part of a query, put the parts "
    f"together, and answer with the final SQL only.\n{_RULES}",
    ((f"{_LIBRARY}\n\nQuestion: {_MANY_PAGES[0]}", _MANY_PAGES[1]), (f"Question: {_TOP_AUTHOR[0]}", _TOP_AUTHOR[1])),
    72,
    0.4,
    stop=(";",),
)

_PLAN = Template(
    "You translate questions into SQL. Plan as a database would: which tables are scanned, joined, filtered, grouped and "
    f"sorted, and which columns come out; answer with the final SQL only.\n{_RULES}",
    ((f"{_LIBRARY}\n\nQuestion: {_BY_CITY[0]}", _BY_CITY[1]), (f"Question: {_ITALIAN[0]}", _ITALIAN[1])),
    72,
    0.4,
    stop=(";",),
)

_REVISE = Template(
    "You repair SQL. You are given a query that failed and what the database said of it. Answer with the corrected SQL only. "
    "If a name does not exist, use one of the schema; if nothing was returned, look at the values in the conditions; if it "
    f"took too long, a join has no condition.\n{_RULES}",
    (
        (
            f"{_LIBRARY}\n\nQuestion: Who joined in 2023?\n"
            "Query: SELECT nam FROM members WHERE joined >= '2023-01-01' -> failed: no such column: nam",
            "SELECT name FROM members WHERE joined >= '2023-01-01';",
        ),
    ),
    72,
    0.6,
    stop=(";",),
)

_UNIT_TESTS = Template(
    "You write unit tests for SQL. You are given a question and candidate queries with their results. Write up to three "
    "short statements, one a line, that hold for a right query and fail for at least one of the others: a condition that "
    "must be there, the columns that come out, the number of rows, or the order. Do not write SQL.",
    (
        (
            f"Question: {_MANY_PAGES[0]}\n\n1: SELECT title FROM books WHERE pages > 300 -> Emma; Ulysses\n"
            "2: SELECT COUNT(*) FROM books WHERE pages > 300 -> 2",
            "- The result is one row with one number.\n- The query keeps only books with more than 300 pages.",
        ),
    ),
    60,
    0.4,
)

_EVALUATE = Template(
    "You judge candidate queries by one unit test. Answer with the numbers of the candidates that pass the test, separated "
    "by commas, or with 0 if none does. A candidate that failed to run passes no test.",
    (
        (
            "Question: How many books are there?\n\n1: SELECT title FROM books -> Emma; Ulysses\n"
            "2: SELECT COUNT(*) FROM books -> 2\n\nTest: The result is one row with one number.",
            "2",
        ),
    ),
    8,
    stop=("\n",),
)

_SELECT = Template(
    "You choose the best of several candidate queries by their results and by how many unit tests they have passed. Among "
    "equals prefer the one whose result has the form that the question asks for. Never choose one that failed to run. "
    "Answer with its number and nothing else.",
    (
        (
            "Question: How many books are there?\n\n1: SELECT title FROM books -> Emma; Ulysses (0 passed)\n"
            "2: SELECT COUNT(*) FROM books -> 2 (3 passed)",
            "2",
        ),
    ),
    4,
    stop=("\n",),
)

TEMPLATES: Mapping[Stage, Template] = {
    Stage.SCHEMA: _SCHEMA,
    Stage.KEYWORDS: _KEYWORDS,
    Stage.RETRIEVE: _RETRIEVE,
    Stage.CANDIDATE: _DIVIDE,
    Stage.REVISE: _REVISE,
    Stage.UNIT_TESTS: _UNIT_TESTS,
    Stage.EVALUATE: _EVALUATE,
    Stage.SELECT: _SELECT,
}
GENERATORS: Sequence[Template] = (_DIVIDE, _PLAN)
"""Templates of the candidates, in turns: different ways to think make different mistakes."""
