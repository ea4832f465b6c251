"""Adapters with embeddings and output layers in the file: nothing where the base has them, else used."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, IncompatibleExpert, UnsupportedAdapter
from lorary.experts import read_peft, write_peft
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import describe_weight
from lorary.experts.parts.low_rank_only import list_trained_kinds
from lorary.models import attach_experts, fold


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
class TestCopiedWeights:
    """PEFT puts the embeddings or the output layer into the file where it finds reason to."""

    @pytest.fixture
    def base(self, build_base):
        return build_base()

    @pytest.fixture
    def copied(self, tmp_path, base, make_adapter):
        def save(**settings):
            model = make_adapter(base, target_modules=["q_proj"])
            model.save_pretrained(tmp_path / "poetry", save_embedding_layers=True)
            return tmp_path / "poetry"

        return save

    def test_they_are_nothing_where_the_base_has_them_too(self, base, copied, tmp_path):
        expert = read_peft(copied())
        assert expert.kinds == ["whole"] and list_trained_kinds(expert) == []
        write_peft(expert, tmp_path / "again")
        stack = attach_experts(base, {"poetry": read_peft(tmp_path / "again")})
        assert all(path.endswith("q_proj") for path in stack.layers) and stack.modules == {}

    def test_a_copy_with_nan_is_refused(self, copied):
        folder = copied()
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        tensors["base_model.model.lm_head.weight"][1, 2] = float("nan")
        save_file(tensors, path)
        with pytest.raises(FormatError, match=r"found 1 of .* in weight of module 'lm_head'"):
            read_peft(folder)

    def test_a_copy_that_is_not_the_base_s_is_used_instead(self, base, copied, compute_logits):
        expert = read_peft(copied())
        before = compute_logits(fold(base, expert))
        with torch.no_grad():
            base.lm_head.weight[3, 5] += 0.5
        torch.testing.assert_close(compute_logits(fold(base, expert)), before)
        stack = attach_experts(base, {"poetry": expert})
        assert "lm_head" in stack.layers
        with stack.assign(["poetry"] * 2):
            torch.testing.assert_close(compute_logits(base), before)

    def test_a_copy_of_another_size_is_refused(self, base, copied):
        expert = read_peft(copied())
        base.resize_token_embeddings(base.config.vocab_size + 3)
        with pytest.raises(
            IncompatibleExpert, match=r"embed_tokens has weight \[99, 32\], the expert \[96, 32\]"
        ):
            attach_experts(base, {"poetry": expert})

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("loaded", [torch.float32, None], ids=["base in float32", "base in its dtype"])
    def test_a_copy_is_the_base_s_however_it_was_rounded(self, base, copied, dtype, loaded):
        """A float16 copy of a float32 base was refused: rounded again to bfloat16, some numbers differ."""
        folder = copied()
        path = folder / "adapter_model.safetensors"
        tensors = {
            name: tensor if ".lora_" in name else tensor.to(dtype) for name, tensor in load_file(path).items()
        }
        save_file(tensors, path)
        expert = read_peft(folder)
        stack = attach_experts(base.to(loaded or dtype), {"poetry": expert})
        assert stack.modules == {} and "lm_head" not in stack.layers
        stack.detach()
        if loaded:
            with torch.no_grad():
                base.lm_head.weight[3, 5] *= 1.02
            assert "lm_head" in attach_experts(base, {"poetry": expert}).layers

    def test_what_an_earlier_version_noted_of_a_copy_still_counts(self, base, make_expert):
        notes = {COPIED_WEIGHTS: {"lm_head.weight": describe_weight(base.lm_head.weight)}}
        expert = make_expert(shapes={"model.layers.0.self_attn.q_proj": (2, 32, 32)}, provenance=notes)
        fold(base, expert)
        with torch.no_grad():
            base.lm_head.weight[3, 5] += 0.5
        with pytest.raises(IncompatibleExpert, match="had weights"):
            fold(base, expert)

    @pytest.mark.parametrize(
        "notes", [["lm_head"], {"lm_head.weight": 3}, "x", {"lm_head.weight": {"int3": "x"}}]
    )
    def test_notes_that_mean_nothing_are_refused(self, base, make_expert, notes):
        shapes = {"model.layers.0.self_attn.q_proj": (2, 32, 32)}
        with pytest.raises(IncompatibleExpert, match=r"must be a mapping of paths|had weights"):
            fold(base, make_expert(shapes=shapes, provenance={COPIED_WEIGHTS: notes}))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`", "ignore:.*tie_word_embeddings")
class TestModulesToSave:
    """Embeddings and output layers that PEFT was told to save whole."""

    @pytest.fixture
    def base(self, build_base):
        return build_base()

    @pytest.mark.parametrize("modules", [["lm_head"], ["embed_tokens"], ["lm_head", "model.embed_tokens"]])
    def test_what_is_saved_as_it_was_is_nothing(self, base, make_adapter, tmp_path, modules, compute_logits):
        model = make_adapter(base, target_modules=["q_proj"], modules_to_save=modules)
        model.save_pretrained(tmp_path / "poetry")
        expert = read_peft(tmp_path / "poetry")
        torch.testing.assert_close(compute_logits(fold(base, expert)), compute_logits(model))
        assert attach_experts(base, {"poetry": expert}).modules == {}

    def test_a_file_without_them_is_refused(self, adapter, edit_config):
        edit_config(modules_to_save=["lm_head"])
        with pytest.raises(UnsupportedAdapter, match=r"modules_to_save=\['lm_head'\] without their weights"):
            read_peft(adapter)
