"""Adapters with embeddings and output layers in the file: left out where the base has them too."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, IncompatibleExpert, UnsupportedAdapter
from lorary.experts import read_peft, write_peft
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import describe_weight
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

    def read(self, folder):
        with pytest.warns(UserWarning, match=r"has copies of .*lm_head.weight.* which are left out"):
            return read_peft(folder)

    def test_they_are_left_out_where_the_base_has_them_too(self, base, copied, tmp_path):
        expert = self.read(copied())
        assert all(path.endswith("q_proj") for path in expert.factors)
        fold(base, expert)
        write_peft(expert, tmp_path / "again")
        attach_experts(base.bfloat16(), {"poetry": read_peft(tmp_path / "again")})

    def test_a_copy_with_nan_is_refused(self, copied):
        folder = copied()
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        tensors["base_model.model.lm_head.weight"][1, 2] = float("nan")
        save_file(tensors, path)
        with pytest.raises(FormatError, match=r"lm_head\.weight', a copy .* is not finite"):
            read_peft(folder)

    @pytest.mark.parametrize("is_resized", [False, True])
    def test_an_expert_whose_copies_are_not_the_base_s_is_refused(self, base, copied, is_resized):
        expert = self.read(copied())
        if is_resized:
            base.resize_token_embeddings(base.config.vocab_size + 3)
        else:
            with torch.no_grad():
                base.lm_head.weight[3, 5] += 0.5
        with pytest.raises(IncompatibleExpert, match=r"'poetry' had weights .* and this Llama.* has others"):
            fold(base, expert)
        with pytest.raises(IncompatibleExpert, match="or resized with the expert"):
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
        expert = self.read(folder)
        stack = attach_experts(base.to(loaded or dtype), {"poetry": expert})
        stack.detach()
        if loaded:
            with torch.no_grad():
                base.lm_head.weight[3, 5] *= 1.02
            with pytest.raises(IncompatibleExpert, match=r"had weights 'lm_head\.weight'"):
                attach_experts(base, {"poetry": expert})

    def test_where_rounding_cannot_be_told_from_training_it_says_how_to_tell(self, base, copied):
        folder = copied()
        path = folder / "adapter_model.safetensors"
        save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
        expert = self.read(folder)
        with pytest.raises(
            IncompatibleExpert, match="load the base model in 'float16' or float32 to compare"
        ):
            attach_experts(base.bfloat16(), {"poetry": expert})

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
    def test_what_is_saved_as_it_was_is_left_out(self, base, make_adapter, tmp_path, modules, compute_logits):
        model = make_adapter(base, target_modules=["q_proj"], modules_to_save=modules)
        model.save_pretrained(tmp_path / "poetry")
        with pytest.warns(UserWarning, match="which are left out"):
            expert = read_peft(tmp_path / "poetry")
        torch.testing.assert_close(compute_logits(fold(base, expert)), compute_logits(model))

    def test_what_was_trained_is_refused_and_says_what_it_is(self, base, make_adapter, tmp_path):
        model = make_adapter(base, target_modules=["q_proj"], modules_to_save=["lm_head"])
        with torch.no_grad():
            model.base_model.model.lm_head.modules_to_save["default"].weight[1, 2] += 0.1
        model.save_pretrained(tmp_path / "poetry")
        with pytest.warns(UserWarning, match="which are left out"):
            expert = read_peft(tmp_path / "poetry")
        with pytest.raises(
            IncompatibleExpert,
            match=r"'poetry' had weights 'lm_head.weight'.*trained \(modules_to_save\)",
        ):
            fold(base, expert)

    def test_other_modules_are_refused(self, base, make_adapter, tmp_path):
        model = make_adapter(base, target_modules=["q_proj"], modules_to_save=["norm"])
        model.save_pretrained(tmp_path / "poetry")
        with pytest.raises(
            UnsupportedAdapter, match=r"modules_to_save=\['norm'\]: all weights of these modules were"
        ):
            read_peft(tmp_path / "poetry")


def test_advice_is_no_repetition_of_what_was_done(adapter, edit_config):
    edit_config(modules_to_save=["lm_head"])
    with pytest.raises(UnsupportedAdapter) as caught:
        read_peft(adapter)
    assert "all weights of these modules were trained" in str(caught.value)
