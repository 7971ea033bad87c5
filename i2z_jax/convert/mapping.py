# SPDX-License-Identifier: Apache-2.0
"""Tables that map PyTorch tensors to our modules, one per published architecture.

A file of this folder describes one published family as a `Published`: how to
recognise its checkpoints, how to read the configuration off the tensors' shapes, and
one `Entry` per tensor, from its PyTorch name to its path in our module. `fit` applies
the table and collects everything that does not fit, so that a person sees all of it at
once. Nothing here knows torch; tensors are NumPy arrays by name (`load.py` reads them).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from i2z_jax.errors import InputError

Tensors = dict[str, np.ndarray]
Layout = Callable[[np.ndarray], np.ndarray]
Stages = dict[str, np.ndarray]

# Left out of every checkpoint.
COUNTERS = {r".*\.num_batches_tracked": "counters of BN's training batches"}


# Layouts: PyTorch's axes -> Flax's. All are views; nothing is copied before `fit`.


def as_is(x: np.ndarray) -> np.ndarray:
    """The same axes on both sides (biases, norms, scalars)."""
    return x


def conv_kernel(x: np.ndarray) -> np.ndarray:
    """Convolution: `out in h w` -> `h w in out`."""
    return x.transpose(2, 3, 1, 0)


def transposed_conv_kernel(x: np.ndarray) -> np.ndarray:
    """Transposed convolution: `in out h w` -> `h w in out`, rows and columns flipped.

    PyTorch's is the gradient of a convolution, `nnx.ConvTranspose` (with
    `transpose_kernel=False`) a convolution of the dilated input: hence the flip.
    """
    return x[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)


def dense_kernel(x: np.ndarray) -> np.ndarray:
    """Linear layer: `out in` -> `in out`."""
    return x.transpose(1, 0)


def image(x: np.ndarray) -> np.ndarray:
    """A learned image or map: `1 c h w` or `c h w` -> `h w c`."""
    (plane,) = x if x.ndim == 4 else (x,)
    return plane.transpose(1, 2, 0)


class Entry(NamedTuple):
    """One tensor: PyTorch name, dotted path in our module, change of axes.

    The path is that of `checkpoint.named_arrays`: attribute names and list indices
    joined by dots, as in `blocks.0.conv.kernel`.
    """

    torch: str
    flax: str
    layout: Layout = as_is


def conv(torch: str, flax: str, *, bias: bool = True) -> list[Entry]:
    """The entries of an `nn.Conv2d` that is an `nnx.Conv` here."""
    entries = [Entry(f"{torch}.weight", f"{flax}.kernel", conv_kernel)]
    return [*entries, Entry(f"{torch}.bias", f"{flax}.bias")] if bias else entries


def batch_norm(torch: str, flax: str) -> list[Entry]:
    """The entries of an `nn.BatchNorm2d`, running statistics included."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean"}
    names["running_var"] = "var"
    return [Entry(f"{torch}.{a}", f"{flax}.{b}") for a, b in names.items()]


def random_image(config: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The `sample` of an image network: one crop of the published size."""
    return {"image": rng.random((1, 256, 256, 3), np.float32)}


@dataclass(frozen=True)
class Published:
    """A published PyTorch family and everything `i2z convert` needs to know of it.

    Configurations are the dataclasses of `config.py`; `inputs` and stages are in our
    axes (NHWC), so that what `--verify` compares needs no further turning.
    """

    # ARCH of `i2z convert`, and a key of `models.ARCHITECTURES`.
    name: str
    architecture: str
    # What a converted checkpoint may be used for; printed and stored.
    licence: str
    # Tensor names that all its checkpoints have and no other family's do.
    signature: tuple[str, ...]
    # Shapes -> configuration. Called only if the signature is present; a KeyError or
    # a shape that makes no sense is reported as "not a complete checkpoint".
    infer_config: Callable[[Tensors], Any]
    entries: Callable[[Any], list[Entry]]
    # For `--verify`: random input by name; the stages of our module on it; the
    # stages of the PyTorch reference network with these tensors on it.
    sample: Callable[[Any, np.random.Generator], dict[str, np.ndarray]]
    stages: Callable[[Any, dict[str, Any]], Mapping[str, Any]]
    reference: Callable[[Any, Tensors, dict[str, np.ndarray]], Stages]
    # Regular expressions of names that are skipped on purpose -> reason.
    ignored: Mapping[str, str] = field(default_factory=dict)
    # Reads tensors that live beside the checkpoint (a DAM's statistics) from a
    # folder, by file name ("vert_mean.bin"); `entries` maps them like any other.
    read_companions: Callable[[Path, Any], Tensors] | None = None
    # Facts to keep in `model.json` beside the configuration (camera names).
    extras: Callable[[Path | None, Any], dict[str, Any]] | None = None


class Mismatch(NamedTuple):
    """One tensor that does not fit: `kind` is missing, unexpected, wrong shape or not
    finite."""

    kind: str
    torch: str
    flax: str
    detail: str


class MismatchError(InputError):
    """A checkpoint whose tensors do not fit; `mismatches` lists all."""

    def __init__(self, mismatches: list[Mismatch], *, where: str | Path, wanted: str):
        self.mismatches = mismatches
        kinds = [m.kind for m in mismatches]
        counts = ", ".join(
            f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)
        )
        first = mismatches[0]
        fix = "give the ARCH it was trained as"
        if set(kinds) == {"not finite"}:
            fix = "its training diverged or it is damaged: give another checkpoint"
        super().__init__(
            f"does not fit {wanted}: {counts}, the first {first.kind} being "
            f"{first.torch or first.flax} ({first.detail})",
            where=where,
            fix=fix,
        )


class Fit(NamedTuple):
    """Result of applying a table to a checkpoint.

    Attributes:
        arrays: ours by path, C-contiguous float32; complete, finite and of the right
            shapes if `mismatches` is empty.
        mismatches: everything that does not fit.
        left_out: reason -> number of tensors skipped on purpose.
    """

    arrays: dict[str, np.ndarray]
    mismatches: list[Mismatch]
    left_out: dict[str, int]


def fit(
    tensors: Tensors,
    entries: list[Entry],
    shapes: Mapping[str, tuple[int, ...]],
    ignored: Mapping[str, str],
) -> Fit:
    """Apply a table to a checkpoint and collect every mismatch.

    Args:
        tensors: the checkpoint's tensors by PyTorch name.
        entries: the family's table for the inferred configuration.
        shapes: shape of every array of our module, by path.
        ignored: regular expressions of names that may be left out -> why.
    """
    arrays: dict[str, np.ndarray] = {}
    mismatches: list[Mismatch] = []
    left_out: Counter[str] = Counter()
    for torch, flax, layout in entries:
        wanted = shapes.get(flax)
        if torch not in tensors:
            detail = "absent from the checkpoint"
            mismatches.append(Mismatch("missing", torch, flax, detail))
            continue
        tensor = tensors[torch]
        try:
            array = layout(tensor)
        except ValueError:  # another number of axes
            array = None
        if array is None or array.shape != wanted:
            turned = "" if array is None else f" -> {_dims(array.shape)}"
            detail = f"{_dims(tensor.shape)}{turned}, wanted {_dims(wanted)}"
            mismatches.append(Mismatch("wrong shape", torch, flax, detail))
            continue
        # np.ascontiguousarray would make scalars 1-d.
        arrays[flax] = np.asarray(array, dtype=np.float32, order="C")
        if bad := np.sum(~np.isfinite(arrays[flax])):
            detail = f"{bad} of {tensor.size} values NaN or infinite"
            mismatches.append(Mismatch("not finite", torch, flax, detail))
    reasons = {**COUNTERS, **ignored}
    for name in tensors.keys() - {entry.torch for entry in entries}:
        reason = next((reasons[p] for p in reasons if re.fullmatch(p, name)), None)
        if reason is None:
            detail = _dims(tensors[name].shape)
            mismatches.append(Mismatch("unexpected", name, "", detail))
        else:
            left_out[reason] += 1
    # Ours that no entry fills: a fault of the table, found by its first test.
    for path in shapes.keys() - {entry.flax for entry in entries}:
        mismatches.append(Mismatch("missing", "", path, _dims(shapes[path])))
    return Fit(arrays, sorted(mismatches), dict(left_out))


def _dims(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else "x".join(map(str, shape)) or "a scalar"
