"""The command line. Mistakes of its user end it with code 2 and one message, never with a traceback."""

from __future__ import annotations

import signal
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agentserve import __version__
from agentserve.commands.calibrate import calibrate
from agentserve.commands.cluster import cluster as cluster_commands
from agentserve.commands.common import JsonOption, err, fail, out, print_json
from agentserve.commands.doctor import doctor
from agentserve.commands.explain import explain
from agentserve.commands.keys import keys as key_commands
from agentserve.commands.operate import engines, programs, reload
from agentserve.commands.replay_log import replay_log
from agentserve.commands.simulate import simulate
from agentserve.commands.top import top
from agentserve.commands.tune import tune
from agentserve.commands.tune_virtual import tune_virtual
from agentserve.commands.validate import validate
from agentserve.commands.workflows import workflows
from agentserve.config import ConfigError, EngineSection, default_config, load
from agentserve.demo.command import demo
from agentserve.engines import demo_model, installed
from agentserve.logs import configure
from agentserve.text2sql.command import text2sql
from agentserve.workers import check_workers, run_workers
from scheduler import registry
from scheduler.policy import KINDS, PRESETS

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)


def main() -> None:
    """What the command `agentserve` runs."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"agentserve {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Serves agent programs on vLLM: which call runs next, where, and how long its KV is kept."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="The configuration file; without it, one local engine.")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT, instead of the file's.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="A preset of `agentserve policies` or a policy file (.yaml), instead of the configuration's."
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Record every call, without its text, to this file, to be simulated.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="The file of API keys, instead of the configuration's.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Serve https with this certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Gateway processes on this address; above 1 with `store`.")] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log in detail.")] = False,
) -> None:
    """Serve the OpenAI API in front of the engines that the configuration names or launches."""
    if (tls_certificate is None) != (tls_key is None):
        fail("--tls-certificate and --tls-key go together: give both, or neither")
    tls = None if tls_certificate is None else {"certificate": str(tls_certificate), "key": str(tls_key)}
    paths = {"record": record, "keys": keys}
    overrides = {"listen": listen, "policy": policy, "tls": tls} | {
        name: None if path is None else str(path) for name, path in paths.items()
    }
    read = None if config is None else partial(load, config, **overrides)
    try:
        chosen = default_config(demo_model.DEFAULT_PATH, **overrides) if read is None else read()
        if workers > 1:
            check_workers(chosen)
    except ConfigError as error:
        fail(str(error))
    if not installed.has_vllm() and any(engine.launch for _, engine in chosen.engines):
        fail(installed.HOW_TO_INSTALL)
    if config is None:
        _prepare_demo_model()
    configure(chosen.log, verbose=verbose)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as on Ctrl-C: engines are ended before we are

    if workers > 1:
        raise typer.Exit(run_workers(chosen, workers, read, verbose=verbose))

    from agentserve.gateway.server import run

    raise typer.Exit(run(chosen, read=read))


def _prepare_demo_model() -> None:
    try:
        with err.status(f"preparing the demo model in {demo_model.DEFAULT_PATH} (the first time takes 20 s)"):
            demo_model.prepare()
    except RuntimeError as error:
        fail(f"{error}; or name the engines to serve from in a configuration file, with --config")


@app.command()
def check_config(
    file: Annotated[Path, typer.Argument(help="The configuration file.")], as_json: JsonOption = False
) -> None:
    """Check a configuration file without starting anything."""
    try:
        config = load(file)
    except ConfigError as error:
        fail(str(error))
    if as_json:
        engines = [
            {"model": pool.model, "engine": engine.name, "origin": _origin(engine)} for pool, engine in config.engines
        ]
        print_json({"policy": config.policy.name, "listen": config.listen, "engines": engines})
        return
    out.print(f"{escape(str(file))} is valid: policy {config.policy.name}, listening on {config.listen}")
    for pool, engine in config.engines:
        out.print(f"  {escape(pool.model)}: engine {engine.name}, {escape(_origin(engine))}")


def _origin(engine: EngineSection) -> str:
    if engine.launch is not None:
        return f"launched on {engine.launch.model}, {'with' if engine.launch.plugin else 'without'} the plugin"
    return f"attached at {engine.url}" if engine.url else "emulated"


@app.command()
def policies(as_json: JsonOption = False) -> None:
    """List the presets, and the policies they are made of."""
    if as_json:
        presets_told = {name: {kind: str(getattr(preset, kind)) for kind in KINDS} for name, preset in PRESETS.items()}
        print_json({"presets": presets_told, "policies": {kind: list(of) for kind, of in registry.POLICIES.items()}})
        return
    presets = Table("preset", title="Presets (`policy: NAME`)", title_justify="left")
    for kind in KINDS:
        presets.add_column(kind, overflow="fold")
    for name, preset in PRESETS.items():
        presets.add_row(name, *(escape(str(getattr(preset, kind))) for kind in KINDS))
    parts = Table("kind", "policy", "parameters", "what it does", title_justify="left")
    parts.title = "Policies (`policy: {KIND: NAME}` or `policy: {KIND: {NAME: {PARAMETER: VALUE}}}`)"
    for kind, choices in registry.POLICIES.items():
        for name, policy in choices.items():
            params = (f"{param.name}={param.default}" for param in signature(policy).parameters.values())
            parts.add_row(kind, name, ", ".join(params), escape((policy.__doc__ or "").partition("\n")[0]))
    out.print(presets, parts, sep="\n")


app.command("replay-log")(replay_log)
app.command()(programs)
app.command()(engines)
app.command()(reload)
app.command()(top)
app.command()(doctor)
app.command()(explain)
app.command()(demo)
app.command()(text2sql)
app.command()(simulate)
app.command()(calibrate)
app.command()(validate)
app.command()(tune)
app.command("tune-virtual")(tune_virtual)
app.add_typer(key_commands, name="keys")
app.add_typer(cluster_commands, name="cluster")
app.command()(workflows)
