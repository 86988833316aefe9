"""`python -m agentserve`, from any folder.

Python puts the working folder first on its path, where a project's own `tools.py` or `scheduler/` would hide ours.
"""

import sys

# with -P or PYTHONSAFEPATH the first entry is not the working folder
if not sys.flags.safe_path:
    del sys.path[0]

from agentserve.cli import main

main()
