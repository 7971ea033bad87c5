# SPDX-License-Identifier: Apache-2.0
"""PyTorch files -> NumPy arrays by name. No torch, and no code of the file is run.

Three containers hold the same pickle: the zip of `torch.save` since 1.6, the bare
pickle before it (`.pth.tar` is one of those, not a tar), and the TorchScript archive
of `torch.jit.save`, whose `data.pkl` has the parameters and whose code we leave alone.
Unpickling is restricted to an allow-list; tensors are memory-mapped views of the file.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from i2z_jax.convert.mapping import Tensors
from i2z_jax.errors import InputError

# First object of a file before PyTorch 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Names that training scripts give to the dictionary of weights.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
# What nn.DataParallel, torch.compile, Trainer classes and the like put before every
# name.
PREFIXES = ("module.", "_orig_mod.", "model.")

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def load_state_dict(path: str | Path) -> Tensors:
    """All tensors of a checkpoint by name, without wrapper prefixes.

    Args:
        path: a `.pth`, `.pth.tar`, `.pt` or scripted `.zip` file: a state dict, a
            dictionary that holds one, or a TorchScript module.

    Returns:
        Read-only arrays, views of the file. They keep PyTorch's axes and types.

    Raises:
        InputError: not such a file, damaged, or one that would run code.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", where=path)
    if path.is_dir():
        raise InputError("is a folder", where=path, expected="a PyTorch file")
    try:
        tensors = _without_prefixes(_tensors(_content(path), path))
        return {name: tensor.array() for name, tensor in tensors.items()}
    except InputError:
        raise
    # A pickle of unknown origin can fail in any way, in any opcode.
    except (Exception, MemoryError) as error:
        what = f"damaged or truncated ({type(error).__name__}: {error})"
        raise InputError(what, where=path, fix="download it again") from error


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if head.startswith(b"\x80"):
        return _read_legacy(path)
    raise _not_a_checkpoint(path, head)


def _not_a_checkpoint(path: Path, head: bytes) -> InputError:
    if not head:
        return InputError("the file is empty", where=path, fix="download it again")
    if head.lstrip().startswith(b"<"):
        return InputError(
            "is a web page, not a checkpoint",
            where=path,
            fix="the download link led to a page; open it in a browser and save "
            "the file itself",
        )
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7z", b"7z\xbc\xaf")):
        return InputError("is compressed", where=path, fix="unpack it first")
    return InputError(
        "is not a PyTorch checkpoint", where=path, got=f"{head[:8]!r} at its start"
    )


# The two containers.


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(
                "is a zip archive without PyTorch's data.pkl",
                where=path,
                fix="if a checkpoint is packed inside, unpack it first",
            )
        root = pickles[0].removesuffix("data.pkl")
        read = [n for n in entries if n == pickles[0] or n.startswith(f"{root}data/")]
        # torch never compresses these; so nothing here grows larger than the file.
        if any(entries[n].compress_type != zipfile.ZIP_STORED for n in read):
            raise InputError(
                "has compressed tensors, which torch.save never writes", where=path
            )
        pickled = io.BytesIO(archive.read(pickles[0]))
    mapped = np.memmap(path, np.uint8, mode="r")

    def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
        start = _data_offset(mapped, entries[f"{root}data/{key}"].header_offset)
        return mapped[start : start + size * dtype.itemsize].view(dtype)

    return _Reader(pickled, storage, path).load()


def _data_offset(file: np.ndarray, header: int) -> int:
    # Local header: 30 bytes, of which the last four are the lengths of name and extra.
    name, extra = file[header + 26 : header + 30].view("<u2")
    return header + 30 + int(name) + int(extra)


def _read_legacy(path: Path) -> Any:
    wanted: dict[str, tuple[np.dtype, int]] = {}
    offsets: dict[str, int] = {}
    mapped = np.memmap(path, np.uint8, mode="r")

    def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
        start = offsets[key]
        return mapped[start : start + size * dtype.itemsize].view(dtype)

    with path.open("rb") as file:

        def part() -> Any:
            reader = _Reader(file, storage, path)
            value = reader.load()
            wanted.update(reader.storages)
            return value

        if part() != LEGACY_MAGIC:
            raise InputError("is a pickle, but not one of torch.save", where=path)
        part(), part()  # protocol version, sizes of the writer's C types
        content = part()
        # Behind the pickles: per storage its length (int64) and its elements.
        for key in part():
            dtype, size = wanted[key]
            offsets[key] = file.tell() + 8
            file.seek(offsets[key] + size * dtype.itemsize)
        if file.tell() > len(mapped):
            raise EOFError(f"ends {file.tell() - len(mapped)} bytes early")
    return content


# The pickle inside.


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; the file is looked at only for `array`."""

    storage: Any
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        read, dtype, key, length = self.storage
        if min(self.size + self.stride + (self.offset,)) < 0:
            raise ValueError("a tensor of negative size")
        if 0 in self.size:
            return np.zeros(self.size, dtype)
        data = read(dtype, key, length)
        spans = zip(self.size, self.stride, strict=True)
        last = self.offset + sum((n - 1) * s for n, s in spans)
        if last >= len(data) or np.prod(self.size, dtype=float) > len(data):
            raise ValueError("a tensor reaches beyond its data")
        strides = tuple(s * dtype.itemsize for s in self.stride)
        return np.lib.stride_tricks.as_strided(
            data[self.offset :], self.size, strides, writeable=False
        )


class _Scripted:
    """Stands for every class of a TorchScript archive: attributes, no behaviour."""


def _rebuild_tensor(storage, offset, size, stride, *rest) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(size), tuple(stride))


def _first(value: Any, *rest: Any) -> Any:
    return value


def _plain_dict(*rest: Any) -> dict:
    return {}


# Allow-list of globals, and what each resolves to; anything else is refused.
ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _plain_dict,
    ("builtins", "dict"): _plain_dict,
    ("__builtin__", "dict"): _plain_dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    ("torch.jit._pickle", "restore_type_tag"): _first,
    **{("torch", name): np.dtype(kind) for name, kind in STORAGES.items()},
}


class _Reader(pickle.Unpickler):
    """Rebuilds containers and tensors, and nothing else."""

    def __init__(self, file: io.BufferedIOBase, storage: Any, path: Path):
        super().__init__(file, encoding="utf-8")
        self.path = path
        self.storage = storage
        self.storages: dict[str, tuple[np.dtype, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module.split(".")[0] == "__torch__":
            return _Scripted
        raise InputError(
            f"refused: its pickle asks for {module}.{name}, which is code, not data",
            where=self.path,
            fix="save the model's state_dict() alone",
        )

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _location, size, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise InputError(f"holds an unknown kind of data: {pid}", where=self.path)
        self.storages[str(key)] = dtype, int(size)
        return self.storage, dtype, str(key), int(size)


# From unpickled objects to named tensors.


def _tensors(content: Any, path: Path) -> dict[str, _Tensor]:
    for _ in range(3):  # {"model": {"state_dict": {...}}}
        holder = content if isinstance(content, dict) else {}
        inner = [holder[k] for k in WRAPPERS if isinstance(holder.get(k), dict)]
        if not inner:
            break
        content = inner[0]
    if isinstance(content, _Scripted):
        tensors = dict(_attributes(content, ""))
    elif isinstance(content, dict):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, _Tensor)}
    else:
        tensors = {}
    if not tensors:
        got = list(content)[:6] if isinstance(content, dict) else type(content).__name__
        raise InputError(
            "holds no tensors by name", where=path, expected="a state dict", got=got
        )
    return tensors


def _attributes(module: _Scripted, prefix: str) -> Iterator[tuple[str, _Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, _Tensor):
            yield prefix + name, value
        elif isinstance(value, _Scripted):
            yield from _attributes(value, f"{prefix}{name}.")


def _without_prefixes(tensors: dict[str, _Tensor]) -> dict[str, _Tensor]:
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {n.removeprefix(prefix): t for n, t in tensors.items()}
    return tensors
