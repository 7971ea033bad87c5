# SPDX-License-Identifier: Apache-2.0
"""The `i2z` command line: a table of commands, each a module loaded when asked for.

A command module has a frozen dataclass `Config`, whose fields are the options and
whose docstring is the help page, and a function `run(config) -> None`; one whose
defaults depend on an option has `defaults(arguments) -> Config` as well. The checkout's
`launch/<name>.py` calls the same `main`: `python -m launch.convert` is `i2z convert`.
"""

import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path
from types import ModuleType

from i2z_jax import __version__, cluster, compile_cache, malloc, stopping, xla_flags
from i2z_jax.errors import InputError
from i2z_jax.stopping import Terminated

# What `i2z --help` says of each.
COMMANDS = {
    "demo": "the whole system on a synthetic capture, on a laptop CPU",
    "synth blendshapes": "expressions of a synthetic head, or of a scan, as OBJ",
    "synth capture": "render a synthetic head into a multiview capture",
    "synth landmarks": "render many identities into a 300-W folder",
    "synth video": "render the captured head in the wild, as a video",
    "data build": "files on disk -> records that training reads",
    "data check": "say whether a dataset folder is usable, with a picture",
    "data landmark-map": "the 68-landmark map of a capture's mesh, from .pts files",
    "convert": "PyTorch checkpoint -> i2z_jax checkpoint, proved equal",
    "train landmarks": "train the landmark hourglass and the image stream",
    "train dam": "train the deep appearance model on a capture",
    "train regress": "train I2ZNet through the frozen decoder",
    "adapt": "adapt a trained I2ZNet to an unlabelled video",
    "evaluate ablation": "the paper's table: four variants, five scenarios",
    "evaluate capture": "vertex, texture and pose error on a capture",
    "evaluate landmarks": "landmark error (NME, AUC, failure rate)",
    "evaluate video": "errors, landmark residual and jitter on a video",
    "track": "track a face through a video; mesh, overlay and report",
    "inspect": "what is in a checkpoint: architecture, sizes, origin",
    "doctor": "python, jax, devices, memory and extras of this machine",
}
# What any command takes beside its own options.
EVERYWHERE = {
    "--debug": "the traceback of an error",
    "--distributed": "first meet this job's other processes",
}


def main(argv: Sequence[str] | None = None, *, command: str | None = None) -> None:
    """Run a command and exit: 0 on success, 1 on failure, 2 on bad usage.

    130 after Ctrl-C and 143 after SIGTERM; a training run that saves first exits 0.

    Args:
        argv: the arguments; `sys.argv[1:]` by default.
        command: the first words of a command, for the modules in `launch/`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if command is not None:
        arguments = [*command.split(), *arguments]
    if sys.stdout is None:  # closed: `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        with stopping.heard():
            code = _dispatch(arguments)
    except SystemExit as end:  # tyro's, after help or bad usage
        code = int(end.code or 0)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; so is any reason to go on.
        code = 1
    except Exception:
        # Not left to Python, whose way out waits for the other processes of a job.
        traceback.print_exc()
        code = 1
    cluster.leave(_after_printing(code))


def _after_printing(code: int) -> int:
    """The exit code; 1 if what was printed cannot be written, and what is left of it is
    dropped. A command that failed has said why."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if code == 0:
            code = _cannot_print(error)
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _cannot_print(error: OSError) -> int:
    """Say so, unless the reader of our output has gone."""
    if not isinstance(error, BrokenPipeError):
        print(f"i2z: cannot print ({error.strerror})", file=sys.stderr)
    return 1


def _dispatch(arguments: list[str]) -> int:
    debug, distributed = (option in arguments for option in EVERYWHERE)
    arguments = [a for a in arguments if a not in EVERYWHERE]
    name = _command_name(arguments)
    if name is None:
        try:
            return _overview(arguments)
        except OSError as error:
            return _cannot_print(error)
    # Libraries log long stories on stderr beside the one line that we print.
    for library in ("absl", "asyncio"):
        level = logging.WARNING if debug else logging.CRITICAL
        logging.getLogger(library).setLevel(level)
    # Before the module brings in JAX.
    compile_cache.enable(os.environ)
    malloc.keep_freed_memory(os.environ)
    xla_flags.add_correctness_flags(os.environ)
    # All is float32; more than that, wished for in a shell, would be half heard.
    os.environ.pop("JAX_ENABLE_X64", None)
    options = arguments[len(name.split()) :]
    try:
        with stopping.later():  # half an import has many ways to fail
            import tyro  # heavy beside `i2z --help`

            module = _module(name)
        _require_utf8([*options, _current_folder()])
        defaults = getattr(module, "defaults", None)
        config = tyro.cli(
            module.Config,
            prog=f"i2z {name}",
            description=_description(module.Config),
            args=options,
            default=defaults(options) if defaults else None,
            registry=_path_options(),
        )
        cluster.join(asked=distributed)
        module.run(config)
    except KeyboardInterrupt:
        print(f"i2z {name}: interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print(f"i2z {name}: terminated", file=sys.stderr)
        return 143
    except (InputError, OSError) as error:
        if debug or isinstance(error, BrokenPipeError):
            raise
        print(f"i2z {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _module(name: str) -> ModuleType:
    """The code of `data landmark-map` is in `data_landmark_map.py`."""
    return importlib.import_module(f"{__name__}.{re.sub('[ -]', '_', name)}")


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: only paths from the root are left
        return ""


def _require_utf8(names: Sequence[str]) -> None:
    """Refuse names that the libraries which read and write records, checkpoints and
    videos would answer with a traceback.

    Raises:
        InputError: a name has bytes that were not understood.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "a name that cannot be read",
                where=ascii(name),
                expected="UTF-8",
                got=f"bytes that are not {sys.getfilesystemencoding()}",
                fix="set PYTHONUTF8=1; if it is set, rename the file or folder",
            ) from error


def _path_options():
    """How tyro reads paths: those that name nothing, as `.`, become absolute, since
    results and messages are called by names."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    from i2z_jax.files import named

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def path(info) -> PrimitiveConstructorSpec | None:
        if info.type is not Path:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="PATH",
            instance_from_str=lambda words: named(Path(words[0])),
            is_instance=lambda value: isinstance(value, Path),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _command_name(arguments: list[str]) -> str | None:
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS and len(arguments) >= words:
            return name
    return None


def _description(config: type) -> str:
    also = ", ".join(f"{name} ({meaning})" for name, meaning in EVERYWHERE.items())
    return f"{getdoc(config)}\n\nEvery command also takes {also}."


def _overview(arguments: list[str]) -> int:
    """`i2z`, `i2z --help`, `i2z synth --help`, and words that are no command."""
    words = [a for a in arguments if not a.startswith("-")]
    options = [a for a in arguments if a.startswith("-")]
    if not words and "--version" in options:
        print(f"i2z_jax {__version__}")
        return 0
    group = {n: s for n, s in COMMANDS.items() if not words or n.split()[0] == words[0]}
    if not group or len(words) > 1:
        print(f"i2z: no command {' '.join(words)!r}; see `i2z --help`", file=sys.stderr)
        return 2
    print("usage: i2z COMMAND [OPTIONS]   (i2z COMMAND --help)\n")
    for name, summary in group.items():
        print(f"  {name:<20}{summary}")
    print("\nEvery command also takes:")
    for option, meaning in EVERYWHERE.items():
        print(f"  {option:<20}{meaning}")
    return 0 if not words or options else 2
