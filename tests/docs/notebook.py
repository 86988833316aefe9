"""Runs a page's Python blocks one after the other, in one namespace, as `python -m asyncio` would: awaits may stand alone.

python notebook.py FILE     (a JSON list of [name, text])
"""

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path


def main(file: Path) -> None:
    namespace: dict[str, object] = {"__name__": "notebook"}
    for name, text in json.loads(file.read_text()):
        code = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            asyncio.run(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
