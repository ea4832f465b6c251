"""Parts in memory and in files: what each kind refuses, and what all of them share."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts import KINDS, require_low_rank
from lorary.experts.parts.added_bias import AddedBiasPart
from lorary.experts.parts.contract import Source
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.soft_prompt import MODEL, SoftPromptPart
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart
from lorary.experts.peft_config import AdapterConfig
from lorary.experts.peft_features import guess_kinds

PATH = "model.layers.0.q_proj"
INDICES = torch.tensor([[2, 0, 1, 5], [1, 3, 3, 0]])
PARTS = {
    "whole": WholePart(weight=torch.ones(3, 4)),
    "embedding": EmbeddingPart(torch.ones(2, 9), torch.ones(4, 2)),
    "sparse": SparsePart(torch.arange(4.0), INDICES),
    "dora": DoraPart(torch.ones(4)),
    "ia3": Ia3Part(torch.ones(4), True),
    "added bias": AddedBiasPart(torch.ones(4)),
    "tokens": TokensPart(torch.ones(2, 4), (3, 1)),
    "soft prompt": SoftPromptPart(torch.ones(2, 4)),
}


def test_every_kind_has_a_row_here():
    assert PARTS.keys() == KINDS.keys()
    assert all(part.kind == kind for kind, part in PARTS.items())


@pytest.mark.parametrize("kind", KINDS)
class TestContract:
    """What holds of every kind."""

    def test_tensors_can_be_exchanged(self, kind):
        part = PARTS[kind]
        assert part.tensors
        halves = part.replace_tensors({field: each.clone() for field, each in part.tensors.items()})
        assert type(halves) is type(part)
        assert all(torch.equal(halves.tensors[field], each) for field, each in part.tensors.items())

    def test_its_names_are_claimed_by_it_alone(self, kind):
        for name in PARTS[kind].name_tensors(PATH, is_target=False):
            claims = [other for other, part in KINDS.items() if part.claim(name) is not None]
            assert claims == [kind]
            claim = KINDS[kind].claim(name)
            assert claim is not None and claim.module == (MODEL if kind == "soft prompt" else PATH)
            assert KINDS[kind].claim(f"other.{name.removeprefix('base_model.model.')}") is None

    def test_merging_refuses_it_and_says_what_is_possible(self, kind):
        expert = Expert("poetry", "", {}, parts={PATH: (PARTS[kind],)})
        with pytest.raises(
            IncompatibleExpert, match=r"merging needs .* 'poetry' has .*: such an expert can be"
        ):
            require_low_rank([expert], "merging")
        assert kind in repr(expert) and expert.kinds == [kind]
        assert expert.num_parameters > 0 and expert.max_rank == 0
        assert expert.to(torch.float64).dtypes == (torch.float64,)
        assert expert.rename_modules({PATH: "x"}).paths == ["x"]

    def test_values_that_are_not_finite_are_refused(self, kind, tmp_path):
        part = PARTS[kind]
        field = next(field for field, tensor in part.tensors.items() if tensor.is_floating_point())
        bad = part.replace_tensors({**part.tensors, field: part.tensors[field] * float("nan")})
        with pytest.raises(FormatError, match=f"NaN or infinite in {field} of module"):
            write_peft(Expert("poetry", "", {}, parts={PATH: (bad,)}), tmp_path / "x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DoraPart(torch.ones(2, 2)), r"magnitude must be \[O\], found shape \[2, 2\]"),
        (lambda: DoraPart(torch.ones(0)), "must not be empty"),
        (
            lambda: DoraPart(torch.ones(2, dtype=torch.int32)),
            "magnitude must be one of .*, found torch.int32",
        ),
        (lambda: EmbeddingPart(torch.ones(2, 9), torch.ones(4, 3)), r"b must be \[H, R\] with R = 2"),
        (lambda: WholePart(), "must have a weight or a bias"),
        (lambda: TokensPart(torch.ones(2, 4), (1, 1)), "2 different tokens"),
        (lambda: TokensPart(torch.ones(2, 4), (1,)), "2 different tokens"),
        (lambda: SparsePart(torch.ones(4), INDICES[:, :3]), r"indices must be \[2, 4\], found \[2, 3\]"),
        (lambda: SparsePart(torch.ones(4), INDICES.float()), "indices must be whole numbers"),
        (lambda: SparsePart(torch.ones(4), -INDICES), "indices must be from 0 to"),
        (lambda: SparsePart(torch.ones(2), torch.tensor([[2, 2], [1, 1]])), "each entry once"),
    ],
)
def test_what_makes_no_part_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_expert_s_parts_are_checked():
    with pytest.raises(TypeError, match="must map module paths to parts"):
        Expert("x", "", {}, parts={PATH: DoraPart(torch.ones(4))})
    with pytest.raises(TypeError, match="must be of a kind in KINDS, found int"):
        Expert("x", "", {}, parts={PATH: (3,)})
    with pytest.raises(ValueError, match="one part of a kind, found dora, dora"):
        Expert("x", "", {}, parts={PATH: (DoraPart(torch.ones(4)), DoraPart(torch.ones(4)))})


@pytest.fixture
def sparse(tmp_path):
    indices = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 1, 2, 3, 0]])
    expert = Expert("poetry", "", {}, parts={PATH: (SparsePart(torch.arange(8.0), indices),)})
    write_peft(expert, tmp_path / "poetry")
    (tmp_path / "poetry" / "expert.json").unlink()
    return tmp_path / "poetry"


def edit(folder, **changes):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for end, change in changes.items():
        name = next(name for name in tensors if name.endswith(end))
        tensors[name] = change(tensors[name])
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda indices: indices * 0, "each entry once, found one twice"),
        (lambda indices: indices - 2, "indices must be from 0 to"),
        (lambda indices: indices.float() + 0.5, "shira_indices must be whole numbers"),
        (lambda indices: indices[:1].contiguous(), r"indices must be \[2, 8\]"),
        (lambda indices: indices.bool(), "indices must be whole numbers, found torch.bool"),
    ],
)
def test_entries_of_a_file_are_checked(sparse, change, message):
    edit(sparse, shira_indices=change)
    with pytest.raises(FormatError, match=f"module '{PATH}', sparse changes: .*{message}"):
        read_peft(sparse)


def test_entries_written_as_floating_point_numbers_are_read(sparse):
    """PEFT writes them so on Windows."""
    before = read_peft(sparse).parts[PATH][0]
    edit(sparse, shira_indices=lambda indices: indices.float())
    after = read_peft(sparse).parts[PATH][0]
    assert torch.equal(before.indices, after.indices) and torch.equal(before.values, after.values)


def test_a_mixture_that_peft_cannot_write_is_refused(make_expert, tmp_path):
    expert = make_expert()
    expert = replace(expert, parts={PATH: (PARTS["ia3"],)})
    with pytest.raises(ValueError, match=r"'poetry' cannot be written .* low-rank factors and IA3 scales"):
        write_peft(expert, tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "factors", "message"),
    [
        ("dora", {"x": 2}, "DoRA magnitudes but no low-rank factors of .*q_proj"),
        ("dora", {PATH: 2, "x": 2}, "DoRA magnitudes, but none of 'x', where PEFT would make"),
        ("added bias", {"x": 2}, "biases in lora_B but no low-rank factors"),
    ],
)
def test_what_peft_would_ignore_or_invent_is_neither_written_nor_read(kind, factors, message, tmp_path):
    pairs = {path: Factors(torch.ones(rank, 4), torch.ones(4, rank)) for path, rank in factors.items()}
    expert = Expert("poetry", "", pairs, parts={PATH: (PARTS[kind],)})
    with pytest.raises(ValueError, match=message):
        write_peft(expert, tmp_path / "x")
    whole = replace(expert, factors={PATH: pairs.get(PATH, next(iter(pairs.values())))})
    write_peft(whole, tmp_path / "x")
    (tmp_path / "x" / "expert.json").unlink()
    path = tmp_path / "x" / "adapter_model.safetensors"
    tensors = load_file(path)
    moved = {name.replace(PATH, "x"): each.clone() for name, each in tensors.items() if ".weight" in name}
    kept = {name: each for name, each in tensors.items() if PATH in factors or ".weight" not in name}
    tensors = moved | kept
    save_file(tensors, path)
    with pytest.raises(FormatError, match=message):
        read_peft(tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "peft_type", "message"),
    [
        ("sparse", "IA3", "sparse changes in an adapter of peft_type 'IA3'"),
        ("soft prompt", "LORA", "a soft prompt in an adapter of peft_type 'LORA'"),
        (None, "IA3", "has low-rank factors, but its adapter_config.json has peft_type 'IA3'"),
    ],
)
def test_tensors_of_another_type_of_adapter_are_refused(kind, peft_type, message, tmp_path):
    pair = Factors(torch.ones(2, 4), torch.ones(4, 2))
    where = MODEL if kind == "soft prompt" else PATH
    parts = {} if kind is None else {where: (PARTS[kind],)}
    write_peft(Expert("poetry", "", {} if kind else {PATH: pair}, parts=parts), tmp_path / "x")
    (tmp_path / "x" / "expert.json").unlink()
    (tmp_path / "x" / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type}))
    with pytest.raises(FormatError, match=message):
        read_peft(tmp_path / "x")


def test_a_trained_bias_of_an_output_layer_is_no_copy():
    config = AdapterConfig()
    bias = WholePart.build({"bias": torch.ones(3)}, Source("lm_head", config, 1.0))
    weight = WholePart.build({"weight": torch.ones(3, 4)}, Source("lm_head", config, 1.0))
    assert weight.is_copy and not bias.is_copy


def test_kinds_of_soft_prompts_are_guessed_from_their_configuration():
    assert guess_kinds({"peft_type": "PREFIX_TUNING"}) == ("soft prompt",)
