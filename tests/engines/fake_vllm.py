"""A process that takes vLLM's arguments and starts in a moment. Its own arguments say how it misbehaves."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--served-model-name")
parser.add_argument("--refuse", default="")
parser.add_argument("--serve-other", action="store_true")
parser.add_argument("--stubborn", action="store_true")
parser.add_argument("--slow", action="store_true")
parser.add_argument("--hang", action="store_true")
options, _ = parser.parse_known_args()

sys.stderr.write("loading weights\n")
if options.refuse:
    sys.exit(options.refuse)
if options.hang:
    sys.stderr.write(f"pid {os.getpid()}\n")
if options.slow or options.hang:
    time.sleep(600 if options.hang else 0.5)
child = None
if options.stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # inherits the deaf ear

MODEL = "other" if options.serve_other else options.served_model_name
PAGES = {
    "/health": "",
    "/v1/models": json.dumps({"data": [{"id": MODEL, "max_model_len": 512}]}),
    "/pids": f"{os.getpid()}\n{child.pid if child else ''}",
    "/args": "\n".join(sys.argv[1:]),
    "/env": "\n".join(f"{key}={value}" for key, value in os.environ.items()),
}


class Handler(BaseHTTPRequestHandler):
    """Answers from `PAGES`; a POST ends the process with exit code 7."""

    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write((page or "").encode())

    def log_message(self, *_: object) -> None:
        """Says nothing, as vLLM does with its access log off."""

    def do_POST(self) -> None:
        sys.stderr.write("out of memory\n")
        os._exit(7)


ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
