import json

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lorary.errors import LoraryError
from lorary.training.folder.state_file import SEAL, read_state, write_state
from lorary.training.progress import UnitProgress

RUN = "f" * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def make_trainees():
    generator = torch.Generator().manual_seed(0)
    first = {"values": torch.randn(5, generator=generator), "step": torch.tensor(3.0)}
    second = {"values": torch.randn(5, generator=generator), "best_values": torch.zeros(0)}
    return {
        "poetry v1.2": (first, UnitProgress(step=1, train_curve=[(1, 0.1 + 0.2)])),
        "sql": (second, UnitProgress()),
    }


def assert_same(state, trainees):
    assert state.run == RUN
    assert state.trainees.keys() == trainees.keys()
    for name, (tensors, progress) in trainees.items():
        found, record = state.trainees[name]
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)
        assert record["train_curve"] == [list(point) for point in progress.train_curve]


def test_a_state_comes_back_bit_for_bit_and_nothing_else_is_left(path):
    write_state(path, RUN, {"law": ({"values": torch.ones(2)}, UnitProgress())})
    write_state(path, RUN, make_trainees())
    assert_same(read_state(path), make_trainees())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_whichever_bit_flips_it_is_found(path):
    """Guards a harm: a flipped bit in a saved weight trained on without a word."""
    write_state(path, RUN, make_trainees())
    content = path.read_bytes()
    num_refused = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            found = read_state(path)
        except (LoraryError, SafetensorError, ValueError):
            num_refused += 1
            continue
        # What is left is what has no meaning, such as the padding after the header.
        assert_same(found, make_trainees())
    assert num_refused > 0.95 * len(content)


def test_a_file_that_was_cut_or_grew_is_refused(path):
    write_state(path, RUN, make_trainees())
    content = path.read_bytes()
    for damaged in [content[:size] for size in range(0, len(content), 7)] + [content + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises((LoraryError, SafetensorError, ValueError)):
            read_state(path)


def rewrite(path, change):
    """Write a file again with other tensors or metadata."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is no mapping)
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


CHANGES = {
    "one tensor less": lambda tensors, metadata: tensors.pop("sql/values"),
    "one tensor more": lambda tensors, metadata: tensors.update({"sql/more": torch.zeros(1)}),
    "another shape": lambda tensors, metadata: tensors.update({"sql/values": torch.zeros(1)}),
    "another dtype": lambda tensors, metadata: tensors.update(
        {"sql/values": torch.zeros(5, dtype=torch.float16)}
    ),
    "a dtype of no numbers": lambda tensors, metadata: tensors.update(
        {"sql/values": torch.zeros(5, dtype=torch.bool)}
    ),
    "a tensor of nobody": lambda tensors, metadata: tensors.update({"law/values": torch.zeros(5)}),
    "a tensor without a name": lambda tensors, metadata: tensors.update({"values": torch.zeros(5)}),
    "an expert less": lambda tensors, metadata: metadata.pop("sql"),
    "experts exchanged": lambda tensors, metadata: metadata.update(sql=metadata["poetry v1.2"]),
    "an edited loss": lambda tensors, metadata: metadata.update(
        {"poetry v1.2": metadata["poetry v1.2"].replace("0.3", "0.2")}
    ),
    "another run": lambda tensors, metadata: metadata.update({SEAL: metadata[SEAL].replace("f", "e", 5)}),
    "a seal that is no JSON": lambda tensors, metadata: metadata.update({SEAL: "["}),
    "a seal that is a list": lambda tensors, metadata: metadata.update({SEAL: "[]"}),
    "an empty seal": lambda tensors, metadata: metadata.update({SEAL: "{}"}),
    "a deep seal": lambda tensors, metadata: metadata.update({SEAL: "[" * 10**5}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_not_saved_so_is_refused(path, change):
    write_state(path, RUN, make_trainees())
    rewrite(path, CHANGES[change])
    with pytest.raises((LoraryError, ValueError)):
        read_state(path)


def test_a_later_version_asks_for_an_upgrade(path):
    write_state(path, RUN, make_trainees())

    def date_later(tensors, metadata):
        metadata[SEAL] = json.dumps({**json.loads(metadata[SEAL]), "version": 2})

    rewrite(path, date_later)
    with pytest.raises(
        ValueError, match="it is of version 2, this version of lorary reads up to 1: upgrade lorary"
    ):
        read_state(path)


def test_a_file_of_an_earlier_version_is_of_no_run(path):
    write_state(path, RUN, make_trainees())
    rewrite(path, lambda tensors, metadata: metadata.pop(SEAL))
    state = read_state(path)
    assert state.run is None
    assert_same(state._replace(run=RUN), make_trainees())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 10**5, "\x00"])
def test_progress_that_is_no_json_object_is_refused(path, text):
    save_file({"sql/values": torch.zeros(2)}, path, metadata={"sql": text})
    with pytest.raises(LoraryError):
        read_state(path)


def test_a_header_beyond_the_limit_is_refused_unread(tmp_path):
    """Guards a bomb: millions of entries were read before anything looked at them."""
    path = tmp_path / "state.safetensors"
    path.write_bytes((10**9).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=r"its header is too large: .*LORARY_MAX_HEADER_MB"):
        read_state(path)
