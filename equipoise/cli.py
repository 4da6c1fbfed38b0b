"""The command line: parse, call, print, exit code; no logic."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.core import TyperGroup

from equipoise.errors import Interrupted, UsageError

INTERRUPTED = 130


class _Group(TyperGroup):
    def invoke(self, ctx):
        # typer turns a KeyboardInterrupt into a mute exit code
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; nothing was written") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for imports: in the midst of torch's it is lost, or breaks what follows."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


app = typer.Typer(
    cls=_Group,
    help="Normalization for neural networks and the statistics around it.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _version(wanted: bool) -> None:
    if wanted:
        import equipoise

        print(equipoise.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def study(
    norms: Annotated[
        list[str] | None,
        typer.Option(
            help="Norms, comma-separated: none, batch, layer, rms, group, instance, response, "
            "torch_batch; or all. Without it: none,batch,torch_batch."
        ),
    ] = None,
    lr: Annotated[list[str] | None, typer.Option(help="Learning rates, comma-separated.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:make_model", help="make_model(norm) returns the network."),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="digits|FILE.py:make_data",
            help="make_data() returns X_train, y_train, X_test, y_test.",
        ),
    ] = "digits",
    out: Annotated[str, typer.Option(help="Folder for report.html and study.json.")] = (
        "reports/study"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rates, seeds and epochs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print study.json on stdout.")] = False,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    threads: Annotated[
        int, typer.Option(help="Threads of torch; 1 gives the same numbers everywhere.")
    ] = 1,
    debug: Debug = False,
) -> None:
    """Train one network with each norm, over learning rates and seeds, and compare."""
    with _uninterrupted():
        from equipoise.study import command

    # what a study asks first is whether normalizing helps; every norm takes three times as long
    norms = ["none,batch,torch_batch"] if norms is None else None if norms == ["all"] else norms
    result = command.run(
        out, make_model=model, data=data, norms=norms, lrs=lr, seeds=seeds, epochs=epochs,
        quick=quick, seed=seed, threads=threads,
    )  # fmt: skip
    if as_json:
        print(result.study.to_json())
    else:
        command.show(result)
    raise typer.Exit(INTERRUPTED if result.study.partial else 0)


scale = typer.Typer(
    help="Fit a scaler on files of any size, apply it, look at it.", no_args_is_help=True
)
app.add_typer(scale, name="scale")


@scale.command("fit")
def scale_fit(
    data: Annotated[
        list[str], typer.Argument(metavar="DATA...", help="Parquet or CSV files, globs, folders.")
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="The scaler, as safetensors.")],
    method: Annotated[
        str, typer.Option(metavar="standard|minmax|maxabs|robust", help="How to scale.")
    ] = "standard",
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns to scale, comma-separated; all without it."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keep what is done there, and go on from it."),
    ] = None,
    checkpoint_every: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How often to keep it; 30 without it.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Learn the scale of each column, in one pass over the files and little memory."""
    from equipoise.preprocessing import command

    command.fit(data, out, method, columns, checkpoint, checkpoint_every)
    print(out)


@scale.command("apply")
def scale_apply(
    scaler: Annotated[str, typer.Argument(metavar="SCALER", help="What `scale fit` wrote.")],
    data: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Parquet or CSV files, globs, folders.")
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="One file, .parquet or .csv.")],
    debug: Debug = False,
) -> None:
    """Scale the columns of files into one file, in the order of their rows."""
    from equipoise.preprocessing import command

    command.apply(scaler, data, out)
    print(out)


@scale.command("show")
def scale_show(
    scaler: Annotated[str, typer.Argument(metavar="SCALER", help="What `scale fit` wrote.")],
    debug: Debug = False,
) -> None:
    """Print what a scaler knows of each column."""
    from equipoise.preprocessing import command

    command.show(scaler)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="One benchmark; without it they are listed.")
    ] = None,
) -> None:
    """Run the benchmarks of a source checkout; what follows NAME is passed on."""
    from equipoise import environment

    raise typer.Exit(environment.benchmarks().main(name, context.args))


@app.command()
def warmup(debug: Debug = False) -> None:
    """Compile the kernels now, so that no first call has to wait."""
    from equipoise.ops import warmup as kernels

    seconds = kernels.warmup(lambda kernel, took: print(f"{kernel}: {took:.1f} s", file=sys.stderr))
    print(f"all kernels are ready after {seconds:.1f} s")


@app.command()
def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Print versions, threads and folders: what a bug report should hold."""
    from equipoise import environment

    facts = environment.describe()
    print(json.dumps(facts) if as_json else "\n".join(f"{k}: {v}" for k, v in facts.items()))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and turn errors into a line on stderr and an exit code."""
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        # a terminal that knows only ASCII gets a ? for a dash, never a traceback
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(words, prog_name="equipoise", standalone_mode=False) or 0
        # here, where a reader that has left is no error yet
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(error, words, 2, str(error))
    except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
        return _fail(error, words, INTERRUPTED, str(error) or "interrupted")
    except BrokenPipeError:
        # the reader has left: what is still buffered must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # typer's own errors about the command line; their class is click's or typer's by version
        told = getattr(error, "format_message", None)
        if told is not None:
            return _fail(error, words, 2, told() and f"{told()} (--help lists the options)")
        return _fail(error, words, 1, f"{type(error).__name__}: {error} (--debug shows where)")


def _fail(error: BaseException, words: list[str], code: int, message: str) -> int:
    if "--debug" in words:
        raise error
    # without arguments the help is shown, and there is no message
    if message:
        print(f"equipoise: {' '.join(message.split())}", file=sys.stderr)
    return code
