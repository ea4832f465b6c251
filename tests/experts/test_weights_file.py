import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lorary.errors import FormatError
from lorary.experts.weights_file import dump_tensors, read_tensors


@pytest.mark.parametrize("storage", [LocalFileSystem, MemoryFileSystem])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_read_back_as_written(tmp_path, storage, dtype):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    fs.pipe_file(path, dump_tensors({"x": tensor}))
    ((name, read),) = read_tensors(fs, path).items()
    assert name == "x"
    assert read.dtype == dtype
    assert torch.equal(read, tensor)


def test_slices_of_one_stack_and_transposed_views_can_be_written(tmp_path):
    stack = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "x.safetensors"
    path.write_bytes(dump_tensors({"one": stack[0], "two": stack[1], "turned": stack[0].T.requires_grad_()}))
    read = read_tensors(LocalFileSystem(), str(path))
    assert torch.equal(read["two"], stack[1])
    assert torch.equal(read["turned"], stack[0].T)


def test_equal_tensors_give_equal_bytes_in_any_order():
    one, two = torch.ones(2), torch.zeros(3)
    assert dump_tensors({"a": one, "b": two}) == dump_tensors({"b": two, "a": one})


def test_local_tensors_are_views_of_the_file_and_outlive_its_removal(tmp_path):
    path = tmp_path / "x.safetensors"
    tensor = torch.randn(500, 500, generator=torch.Generator().manual_seed(0))
    path.write_bytes(dump_tensors({"x": tensor}))
    read = read_tensors(LocalFileSystem(), str(path))["x"]
    with open("/proc/self/maps") as maps:
        assert str(path) in maps.read()
    path.unlink()
    assert torch.equal(read, tensor)


@pytest.mark.parametrize("storage", [LocalFileSystem, MemoryFileSystem])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], "found it truncated or damaged"),
        (lambda content: content[:20], "found it truncated or damaged"),
        (lambda content: b"", "found it truncated or damaged"),
        (lambda content: b"\xff" * 8 + content, "found it truncated or damaged"),
        (lambda content: b"\x80\x02}q\x00." + content, "found a pickle: a pickle can run code"),
        (lambda content: b"PK\x03\x04" + content, "found a pickle: a pickle can run code"),
    ],
)
def test_a_damaged_file_is_refused_with_its_path(tmp_path, storage, damage, message):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    fs.pipe_file(path, damage(dump_tensors({"x": torch.ones(9)})))
    with pytest.raises(FormatError, match=f"'{path}' must be a safetensors file, {message}"):
        read_tensors(fs, path)
