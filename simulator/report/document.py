"""The page that holds charts: one file that needs nothing else, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template


def document(title: str, body: Iterable[str]) -> str:
    """A whole page as HTML: the title as heading, and below it the parts of the body, which are HTML."""
    own = files(__package__)
    style, script = (own.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    template = Template(own.joinpath("page.html").read_text("utf-8"))
    return template.substitute(title=escape(title), style=style, script=script, body="\n".join(body))


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells; the first of each line names it."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, *cells in lines
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def note(text: str) -> str:
    """A paragraph beside the matter."""
    return f'<p class="note">{escape(text)}</p>'


def switch(name: str, title: str, choices: Mapping[str, str]) -> str:
    """Lets the reader choose, by the text of its values, which parts with the attribute `data-<name>` are shown."""
    inputs = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"{"" if index else " checked"}> {escape(text)}</label>'
        for index, (value, text) in enumerate(choices.items())
    )
    return f'<fieldset class="switch"><legend>{escape(title)}</legend>{inputs}</fieldset>'
