import hashlib
import json
import os
import pickle

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError
from lorary.experts.file_layout import STORED_DTYPES, parse_layout, read_header
from lorary.experts.weights_file import dump_tensors, map_tensors, read_tensors


@pytest.mark.parametrize("storage", [LocalFileSystem, MemoryFileSystem])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_read_back_as_written(tmp_path, storage, dtype):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    fs.pipe_file(path, dump_tensors({"x": tensor}))
    ((name, read),) = read_tensors(fs, path).tensors.items()
    assert name == "x"
    assert read.dtype == dtype
    assert torch.equal(read, tensor)


def test_slices_of_one_stack_and_transposed_views_can_be_written(tmp_path):
    stack = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "x.safetensors"
    path.write_bytes(dump_tensors({"one": stack[0], "two": stack[1], "turned": stack[0].T.requires_grad_()}))
    read = read_tensors(LocalFileSystem(), str(path)).tensors
    assert torch.equal(read["two"], stack[1])
    assert torch.equal(read["turned"], stack[0].T)


def test_equal_tensors_give_equal_bytes_in_any_order():
    one, two = torch.ones(2), torch.zeros(3)
    assert dump_tensors({"a": one, "b": two}) == dump_tensors({"b": two, "a": one})


def test_local_tensors_are_views_of_the_file_and_outlive_its_removal(tmp_path):
    path = tmp_path / "x.safetensors"
    tensor = torch.randn(500, 500, generator=torch.Generator().manual_seed(0))
    path.write_bytes(dump_tensors({"x": tensor}))
    read = read_tensors(LocalFileSystem(), str(path)).tensors["x"]
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
        (
            lambda content: b"\x80\x02}q\x00." + content,
            "found a file by torch.save: rename it to adapter_model.bin",
        ),
        (
            lambda content: b"PK\x03\x04" + content,
            "found a file by torch.save: rename it to adapter_model.bin",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_path(tmp_path, storage, damage, message):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    fs.pipe_file(path, damage(dump_tensors({"x": torch.ones(9)})))
    with pytest.raises(FormatError, match=f"'{path}' must be a safetensors file, {message}"):
        read_tensors(fs, path)


MIXED = {
    "one dtype": {"b": torch.arange(6.0).view(2, 3), "a": torch.arange(4.0), "scalar": torch.tensor(7.0)},
    "two dtypes": {"x": torch.arange(3.0), "y": torch.arange(4.0).bfloat16()},
    "whole numbers": {"x": torch.arange(3), "y": torch.arange(4)},
    "some empty": {"x": torch.arange(3.0), "none": torch.zeros(0, 4)},
    "all empty": {"none": torch.zeros(2, 0)},
    "no tensor": {},
}


@pytest.mark.parametrize("storage", [LocalFileSystem, MemoryFileSystem])
@pytest.mark.parametrize("case", MIXED)
def test_blocks_hold_the_same_numbers(tmp_path, storage, case):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    fs.pipe_file(path, dump_tensors(MIXED[case]))
    read = read_tensors(fs, path)
    tensors, blocks = read.tensors, [block for block in read.blocks if block.numel()]
    assert tensors.keys() == MIXED[case].keys()
    assert all(torch.equal(tensor, MIXED[case][name]) for name, tensor in tensors.items())
    numbers = [
        sorted(x for one in found for x in one.flatten().tolist()) for found in (blocks, tensors.values())
    ]
    assert numbers[0] == numbers[1]


def test_a_local_file_of_one_dtype_is_one_block(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(dump_tensors(MIXED["one dtype"]))
    read = read_tensors(LocalFileSystem(), str(path))
    tensors, (block,) = read.tensors, read.blocks
    assert block.numel() == 11
    block.zero_()
    assert not any(tensor.any() for tensor in tensors.values())
    assert read_tensors(LocalFileSystem(), str(path)).blocks[0].any()


def test_numbers_that_begin_at_an_odd_place_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    content = dump_tensors(MIXED["one dtype"])
    length = int.from_bytes(content[:8], "little")
    for extra in range(4):
        longer = content[8 : 8 + length] + b" " * extra
        path.write_bytes(len(longer).to_bytes(8, "little") + longer + content[8 + length :])
        tensors = read_tensors(LocalFileSystem(), str(path)).tensors
        assert all(torch.equal(tensor, MIXED["one dtype"][name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("sizes", [(4, 8), (4, 1), (99, 9)])
def test_a_file_that_is_replaced_once_it_is_open_is_read_as_it_was(tmp_path, sizes):
    """Guards against reading one file's numbers in the places of another's."""
    path, other = tmp_path / "x.safetensors", tmp_path / "other"
    path.write_bytes(dump_tensors({"x": torch.ones(8), "y": torch.zeros(4)}))
    other.write_bytes(dump_tensors({"x": torch.ones(sizes[0]), "y": torch.zeros(sizes[1])}))
    with path.open("rb") as file:
        other.rename(path)
        read = map_tensors(file, str(path))
    numbers = torch.empty(12)
    assert not read.copy_block(numbers)
    for tensors in (read.tensors, dict(zip("xy", numbers.split([8, 4]), strict=True))):
        assert torch.equal(tensors["x"], torch.ones(8)) and torch.equal(tensors["y"], torch.zeros(4))


HEADERS = {
    "a gap": {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    "an overlap": {
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "y": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    },
    "too few bytes": {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}},
    "too many bytes": {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    "another shape": {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    "has unknown dtype": {"x": {"dtype": "F7", "shape": [2], "data_offsets": [0, 8]}},
    "no dtype": {"x": {"shape": [2], "data_offsets": [0, 8]}},
    "a negative length": {"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
    "lengths without end": {"x": {"dtype": "F32", "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}},
    "a fraction": {"x": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
    "true": {"x": {"dtype": "F32", "shape": [2, True], "data_offsets": [0, 8]}},
    "no place": {"x": {"dtype": "F32", "shape": [2]}},
    "three places": {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}},
    "no tensor": {"x": [1, 2]},
    "deep": {"x": json.loads("[" * 200 + "]" * 200)},
    "a list": [1],
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_not_sound_is_refused(tmp_path, case):
    path = tmp_path / "x.safetensors"
    header = json.dumps(HEADERS[case]).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(FormatError, match="found it truncated or damaged"):
        read_tensors(LocalFileSystem(), str(path))


@pytest.mark.parametrize("dtype", STORED_DTYPES.values(), ids=STORED_DTYPES)
def test_every_dtype_has_the_place_that_safetensors_gives_it(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(3, 2).to(dtype), "y": torch.zeros(0, 5)}, path, {"format": "pt"})
    with path.open("rb") as file:
        layout = parse_layout(read_header(file, str(path)))
    tensors = load_file(path)
    assert {name: (outline.shape, outline.dtype) for name, outline in layout.outlines.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()
    }
    assert layout.start + sum(tensor.nbytes for tensor in tensors.values()) == path.stat().st_size


def test_a_named_pipe_in_place_of_the_weights_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="must be a regular file, found a named pipe"):
        read_tensors(LocalFileSystem(), str(tmp_path / "pipe"))


@pytest.mark.parametrize("storage", [LocalFileSystem, MemoryFileSystem])
@pytest.mark.parametrize("case", MIXED)
def test_the_hash_is_that_of_the_files_bytes(tmp_path, storage, case):
    fs, path = storage(), str(tmp_path / "x.safetensors")
    content = dump_tensors(MIXED[case])
    fs.pipe_file(path, content)
    read = read_tensors(fs, path)
    assert read.compute_hash() == hashlib.sha256(content).hexdigest()
    assert pickle.loads(pickle.dumps(read)).compute_hash() == read.compute_hash()
