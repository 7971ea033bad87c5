# SPDX-License-Identifier: Apache-2.0
"""PyTorch files: the same arrays as torch reads, and nothing of the file is run."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from i2z_jax.convert.load import load_state_dict
from i2z_jax.errors import InputError

# torch deprecates writing them; published ones stay around.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:.*torch\.jit\..*:DeprecationWarning",
    r"ignore:.*torch\.jit\..*:FutureWarning",
)


@pytest.fixture
def network() -> torch.nn.Module:
    generator = torch.Generator().manual_seed(11)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Sequential(torch.nn.Linear(6, 2)),
    )
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network


def assert_reads_as(path: Path, expected: dict[str, torch.Tensor]) -> None:
    found = load_state_dict(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), err_msg=name)
        assert found[name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_state_dict(network, tmp_path, zipped):
    state = network.state_dict()
    # Views share one storage, with offsets and strides of their own.
    state["turned"] = state["2.0.weight"].t()
    state["tail"] = state["2.0.weight"][1:, 3:]
    state["half"] = state["0.bias"].half()
    state["empty"] = torch.zeros(0, 3)
    path = tmp_path / "weights.pth.tar"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_reads_as(path, state)


def test_bfloat16(tmp_path):
    path = tmp_path / "b.pth"
    torch.save({"w": torch.arange(4).bfloat16()}, path)
    np.testing.assert_array_equal(
        load_state_dict(path)["w"].astype(np.float32), range(4)
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "model.module.", "model.", "module._orig_mod."]
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_training_checkpoint(network, tmp_path, prefix, zipped):
    state = network.state_dict()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 4, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 12,
        "best": torch.tensor(0.5),
        "state_dict": {prefix + name: tensor for name, tensor in state.items()},
        "optimizer": optimizer.state_dict(),
    }
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_reads_as(path, state)


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive(network, tmp_path, how):
    network.eval()
    scripted = (
        torch.jit.script(network)
        if how == "script"
        else torch.jit.trace(network, torch.zeros(1, 3, 4, 8))
    )
    path = tmp_path / "network.zip"
    scripted.save(path)
    assert_reads_as(path, network.state_dict())


class TouchesAFile:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_code_in_a_pickle_does_not_run(tmp_path, zipped):
    trace = tmp_path / "it-ran"
    path = tmp_path / "evil.pth"
    state = {"w": torch.zeros(2), "x": TouchesAFile(trace)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"refused.*posix\.mkdir.*code, not data"):
        load_state_dict(path)
    assert not trace.exists()
    # It is the reader that holds it back, not the file that is harmless.
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_code_in_a_torchscript_archive_does_not_run(network, tmp_path):
    trace = tmp_path / "it-ran"
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.jit.script(network).save(good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("/data.pkl"):
                content = pickle.dumps(TouchesAFile(trace), protocol=2)
            target.writestr(name, content)
    with pytest.raises(InputError, match="refused"):
        load_state_dict(bad)
    assert not trace.exists()


def test_whole_module_is_refused_by_name(network, tmp_path):
    path = tmp_path / "module.pth"
    torch.save(network, path)
    with pytest.raises(InputError, match=r"container\.Sequential.*state_dict\(\)"):
        load_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file(network, tmp_path, zipped, share):
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="damaged or truncated"):
        load_state_dict(path)


def pickled_tensor(offset: int, size: tuple, stride: tuple) -> bytes:
    """A file before 1.6 with one float storage of four, and the tensor asked for."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (
                Storage(),
                offset,
                size,
                stride,
                False,
                {},
            )

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, "0", "cpu", 4, None)
            return None

    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    Pickler(file, protocol=2).dump({"w": Tensor()})
    pickle.dump(["0"], file, protocol=2)
    file.write(np.int64(4).tobytes() + np.arange(4, dtype=np.float32).tobytes())
    return file.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (0, (2, 2), (3, 1)),
        (3, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (1 << 20, 1 << 20), (0, 0)),
        (0, (1 << 62, 4), (1, 1)),
    ],
)
def test_tensor_outside_its_storage(tmp_path, offset, size, stride):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickled_tensor(1, (3,), (1,)))
    np.testing.assert_array_equal(load_state_dict(path)["w"], [1, 2, 3])
    path.write_bytes(pickled_tensor(offset, size, stride))
    with pytest.raises(InputError, match="damaged or truncated"):
        load_state_dict(path)


def zipped(name: str, content: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"\n  <html>quota exceeded</html>", "is a web page"),
        (b"\x1f\x8b\x08 archive", "is compressed.*unpack"),
        (b"\x89PNG\r\n\x1a\n", r"is not a PyTorch checkpoint \(got b'\\x89PNG"),
        (pickle.dumps([1, 2]), "not one of torch.save"),
        (zipped("notes.txt", b"hi", zipfile.ZIP_STORED), "without PyTorch's data.pkl"),
        (
            zipped("w/data.pkl", bytes(1 << 20), zipfile.ZIP_DEFLATED),
            "has compressed tensors",
        ),
    ],
    ids=["empty", "html", "html2", "gz", "png", "pickle", "zip", "bomb"],
)
def test_other_files(tmp_path, content, says):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_state_dict(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_state_dict(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="is a folder"):
        load_state_dict(tmp_path)


def test_no_tensors(tmp_path):
    path = tmp_path / "log.pth"
    torch.save({"epoch": 3, "loss": [0.5]}, path)
    with pytest.raises(InputError, match=r"no tensors by name.*'epoch', 'loss'"):
        load_state_dict(path)
