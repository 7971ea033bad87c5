# SPDX-License-Identifier: Apache-2.0
"""Models on disk: a folder with `model.json` and `weights/` (DESIGN section 9).

`model.json` is the `ModelCard`: what the model is, where it came from and under which
licence. `weights/` is an Orbax checkpoint of one flat dictionary, dotted path to
float32 array. Both know nothing of devices: a folder written by a pod loads on a
laptop.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from orbax.checkpoint import v1 as ocp

from i2z_jax import __version__, dataclass_json, stopping
from i2z_jax.errors import InputError, first_line
from i2z_jax.files import write_aside
from i2z_jax.models import ARCHITECTURES
from i2z_jax.models.parameters import Keys
from i2z_jax.sharding import by_first_process, from_every_process, is_first_process

CARD = "model.json"
WEIGHTS = "weights"
# Raised when the meaning of what is on disk changes.
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """The file that a model was converted from."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    Attributes:
        architecture: a key of `models.ARCHITECTURES`.
        config: its configuration, a dataclass of `config.py`.
        licence: what the weights may be used for, in a sentence.
        source: where converted weights came from; None for weights trained here.
        extras: JSON facts that belong to the model (names of the cameras whose
            colour it corrects, the run that trained it).
        tool_version: the i2z_jax that wrote it.
    """

    architecture: str
    config: Any
    licence: str
    source: Origin | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    tool_version: str = __version__


def build(
    architecture: str, config: Any, *, dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    """The module with shapes in place of arrays: instant, and without memory."""
    _, module_class = ARCHITECTURES[architecture]
    return nnx.eval_shape(lambda: module_class(config, dtype=dtype, rngs=Keys(0)))


def named_arrays(module: nnx.Module) -> dict[str, Any]:
    """All arrays of a module by dotted path, as in `blocks.0.conv.kernel`."""
    return named(nnx.state(module))


def fill(module: nnx.Module, arrays: Mapping[str, Any]) -> nnx.Module:
    """A copy of `module` with its arrays replaced by those of the same paths."""
    graph, state = nnx.split(module)
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    return nnx.merge(graph, tree.unflatten([arrays[_dotted(p)] for p, _ in leaves]))


def save_model(
    directory: str | Path,
    module: nnx.Module,
    card: ModelCard,
    *,
    overwrite: bool = False,
) -> None:
    """Write `module` and its card to a folder, which appears whole or not at all.

    Every process of a run calls this, with a module that is whole on its device.

    Raises:
        InputError: the folder exists and `overwrite` is off, or cannot be written.
    """
    with folder_aside(directory, overwrite=overwrite) as aside:
        # As arrays of the host, of which Orbax writes those of the first process.
        arrays = jax.device_get(named_arrays(module))
        ocp.save((aside / WEIGHTS).absolute(), arrays)
        if is_first_process():
            content = {"format": FORMAT, **dataclass_json.to_json(card)}
            (aside / CARD).write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def folder_aside(directory: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """`files.write_aside` of a folder, for all processes of a run.

    Raises:
        InputError: as `write_aside`, in every process.
    """
    with by_first_process(write_aside(directory, overwrite=overwrite)) as aside:
        if aside is not None:
            aside.mkdir()
        yield Path(from_every_process(str(aside))[0])
        from_every_process("done")  # before it is renamed


def read_card(directory: str | Path, *, architecture: str | None = None) -> ModelCard:
    """The card of a model folder.

    Args:
        architecture: what the model has to be; None for any.

    Raises:
        InputError: not a model folder, a card this version cannot read, or a model of
            another architecture.
    """
    path = Path(directory) / CARD
    if not path.is_file():
        if parts := sorted(path.parent.glob(f"*/{CARD}")):
            fix = "give " + " or ".join(str(part.parent) for part in parts)
            raise InputError("a folder of models", where=directory, fix=fix)
        what = f"has no {CARD}" if path.parent.is_dir() else "is not a folder"
        fix = "give a folder written by `i2z convert` or `i2z train`"
        raise InputError(f"not a model: {what}", where=directory, fix=fix)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"not readable as JSON ({error})", where=path) from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise InputError("not a model card: it has no format number", where=path)
    if content.pop("format") > FORMAT:
        raise InputError(
            "written by a newer i2z_jax",
            where=path,
            got=content.get("tool_version"),
            expected=f"at most {__version__}",
            fix="install a newer i2z_jax",
        )
    card = dataclass_json.from_json(ModelCard, content, where=path)
    if card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(
            "unknown architecture", where=path, expected=known, got=card.architecture
        )
    if architecture not in (None, card.architecture):
        raise InputError(
            f"not a {architecture} model", where=directory, got=card.architecture
        )
    config_class, _ = ARCHITECTURES[card.architecture]
    config = dataclass_json.from_json(
        config_class, card.config, where=path, name="config"
    )
    return ModelCard(**{**vars(card), "config": config})


def load(directory: str | Path, *, dtype: DTypeLike = jnp.float32) -> Any:
    """The module of a model folder, ready to call, on this process's first device.

    Args:
        directory: what `i2z convert` or a training run wrote, on any devices.
        dtype: the type to compute in; parameters are float32 always.

    Raises:
        InputError: not a model folder, or weights that are not the card's model.
    """
    card = read_card(directory)
    module = build(card.architecture, card.config, dtype=dtype)
    wanted = named_arrays(module)
    weights = (Path(directory) / WEIGHTS).absolute()
    try:
        with stopping.later():
            stored = ocp.metadata(weights).metadata
            if stored is None:
                raise ValueError("its index is damaged")
            what = "the weights are another model's"
            refuse_other_arrays(stored, wanted, where=weights, what=what)
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            abstract = {
                path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
                for path, leaf in wanted.items()
            }
            return fill(module, ocp.load(weights, abstract))
    except InputError:
        raise
    except (ValueError, OSError, KeyError) as error:  # what Orbax raises
        what = f"weights cannot be read ({first_line(error)[:200]})"
        raise InputError(what, where=weights) from error


def refuse_other_arrays(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, where: Path, what: str
) -> None:
    """Compare names and shapes.

    Raises:
        InputError: `what`, and a list of what differs.
    """
    differs = [f"no {path}" for path in wanted.keys() - stored.keys()]
    differs += [f"{path} is too many" for path in stored.keys() - wanted.keys()]
    differs += [
        f"{path} is {tuple(stored[path].shape)} where the model has {leaf.shape}"
        for path, leaf in wanted.items()
        if path in stored and tuple(stored[path].shape) != tuple(leaf.shape)
    ]
    if differs:
        some = "; ".join(sorted(differs)[:8])
        more = f"; and {len(differs) - 8} more" if len(differs) > 8 else ""
        raise InputError(f"{what}: {some}{more}", where=where)


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by dotted path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_dotted(path): leaf for path, leaf in leaves}


def _dotted(path: tuple[Any, ...]) -> str:
    # The last step of an NNX path is the variable's own `.value`.
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
