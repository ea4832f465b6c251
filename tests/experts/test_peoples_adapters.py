"""Adapters as people have them: saved by other tools, on other classes of model, with more in the file."""

import json
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from lorary.errors import FormatError, IncompatibleExpert, UnsupportedAdapter
from lorary.experts import read_peft, write_peft
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import describe_weight
from lorary.library import Library
from lorary.models import attach_experts, fold, wrap_base
from lorary.models.check_base import check_base


@pytest.fixture
def rename(adapter):
    """Give the tensors of an adapter's file other names."""

    def change(new_name):
        path = adapter / "adapter_model.safetensors"
        save_file({new_name(name): tensor for name, tensor in load_file(path).items()}, path)

    return change


@pytest.mark.parametrize("file", ["adapter_model.bin", "adapter_model.ckpt"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_weights_that_torch_save_wrote_are_read(adapter, assert_same_expert, file, is_nested):
    expected = read_peft(adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3} if is_nested else tensors, adapter / file)
    (adapter / "adapter_model.safetensors").unlink()
    assert_same_expert(read_peft(adapter), expected)


def test_they_can_be_added_to_a_library(adapter, tmp_path):
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    library = Library.open(tmp_path / "lib", create=True)
    library.add(read_peft(adapter))
    assert library["poetry"].max_rank == 4


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def write_compressed(path, tensors):
    torch.save(tensors, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, tensors: torch.save({"x": Evil()}, path), "cannot be read as weights"),
        (lambda path, tensors: path.write_bytes(b"PK\x03\x04" + bytes(90)), "no archive of torch.save"),
        (lambda path, tensors: path.write_bytes(b""), "no archive of torch.save"),
        (lambda path, tensors: torch.save([1], path), "no dictionary of tensors"),
        (lambda path, tensors: torch.save({"a": 1}, path), "'a' is no tensor of plain numbers"),
        (
            lambda path, tensors: torch.save({"a": torch.zeros(2).to_sparse()}, path),
            "no tensor of plain numbers",
        ),
        (
            lambda path, tensors: torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, path),
            "its tensors take more bytes than it has",
        ),
        (
            lambda path, tensors: torch.save(tensors, path, _use_new_zipfile_serialization=False),
            "one of before 2020",
        ),
        (write_compressed, "its members are compressed"),
    ],
)
def test_other_pickles_are_refused_and_nothing_runs(adapter, capsys, write, message):
    tensors = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    write(adapter / "adapter_model.bin", tensors)
    with pytest.raises(FormatError, match=message):
        read_peft(adapter)
    assert "executed" not in capsys.readouterr().out


def test_a_pickle_with_too_long_an_index_is_refused(adapter, monkeypatch):
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    monkeypatch.setenv("LORARY_MAX_PICKLE_MB", "0.0001")
    with pytest.raises(FormatError, match=r"has too long an index: at most 0.0001 megabytes"):
        read_peft(adapter)


PREFIX = "base_model.model."
WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "torch.compile within": lambda name: name.replace(PREFIX, f"{PREFIX}_orig_mod."),
    "FSDP": lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
    "checkpoint wrapper": lambda name: name.replace("self_attn", "self_attn._checkpoint_wrapped_module"),
    "DDP": lambda name: f"module.{name}",
    "PEFT twice": lambda name: PREFIX + name,
    "all at once": lambda name: f"module._orig_mod.{PREFIX}_orig_mod.{name}",
}


@pytest.mark.parametrize("new_name", WRAPPED.values(), ids=WRAPPED)
def test_what_wrapped_the_model_in_training_is_left_out_of_names(
    adapter, rename, new_name, assert_same_expert
):
    expected = read_peft(adapter)
    rename(new_name)
    with pytest.warns(UserWarning, match="are read without what wrapped the model in training") as caught:
        found = read_peft(adapter)
    assert len(caught) == 1
    assert_same_expert(found, expected)


def test_factors_of_one_module_by_two_names_are_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, **{f"module.{name}": tensor.clone() for name, tensor in tensors.items()}}, path)
    with pytest.raises(FormatError, match=r"each module's factors once, found .* which are of one module"):
        read_peft(adapter)


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
        with pytest.warns(UserWarning, match=r"comes with copies of .*lm_head.weight.* which are left out"):
            return read_peft(folder)

    def test_they_are_left_out_where_the_base_has_them_too(self, base, copied, tmp_path):
        expert = self.read(copied())
        assert all(path.endswith("q_proj") for path in expert.factors)
        fold(base, expert)
        write_peft(expert, tmp_path / "again")
        attach_experts(base.bfloat16(), {"poetry": read_peft(tmp_path / "again")})

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
            UnsupportedAdapter, match=r"modules_to_save=\['norm'\]: these modules were trained"
        ):
            read_peft(tmp_path / "poetry")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("SEQ_CLS", "a sequence classifier"), ("TOKEN_CLS", "a token classifier"), ("QUESTION_ANS", "question")],
)
def test_a_classifier_is_refused_as_such(adapter, edit_config, kind, name):
    edit_config(task_type=kind, modules_to_save=["classifier", "score"])
    with pytest.raises(
        UnsupportedAdapter, match=f"is {name if name != 'question' else 'an extractive question'}"
    ):
        read_peft(adapter)


def test_advice_is_no_repetition_of_what_was_done(adapter, edit_config):
    edit_config(modules_to_save=["lm_head"])
    with pytest.raises(UnsupportedAdapter) as caught:
        read_peft(adapter)
    assert "these modules were trained whole" in str(caught.value)


def test_an_unknown_task_type_is_refused(adapter, edit_config):
    edit_config(task_type="CHESS")
    with pytest.raises(
        FormatError, match="task_type must be one of CAUSAL_LM, SEQ_2_SEQ_LM, FEATURE_EXTRACTION"
    ):
        read_peft(adapter)


def build_whisper():
    config = WhisperConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8,
        max_source_positions=10, max_target_positions=10, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    inputs = {"input_features": torch.randn(1, 8, 20), "decoder_input_ids": torch.tensor([[1, 5, 7]])}
    return WhisperForConditionalGeneration(config), inputs, ["q_proj", "v_proj"]


def build_t5():
    config = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    inputs = {"input_ids": torch.tensor([[3, 4, 5]]), "decoder_input_ids": torch.tensor([[0, 5, 7]])}
    return T5ForConditionalGeneration(config), inputs, ["q", "v"]


def build_bert():
    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    return AutoModel.from_config(config), {"input_ids": torch.tensor([[3, 4, 5]])}, ["query", "value"]


CLASSES = {
    "whisper": (build_whisper, None),
    "whisper, seq2seq": (build_whisper, "SEQ_2_SEQ_LM"),
    "t5": (build_t5, "SEQ_2_SEQ_LM"),
    "features": (build_bert, "FEATURE_EXTRACTION"),
    "no task": (build_bert, None),
}


@pytest.mark.parametrize(("build", "task_type"), CLASSES.values(), ids=CLASSES)
def test_an_adapter_on_any_class_is_written_back_for_that_class(
    tmp_path, peft, make_adapter, build, task_type
):
    torch.manual_seed(5)
    model, inputs, targets = build()
    model.eval()
    trained = make_adapter(model, target_modules=targets, task_type=task_type)
    trained.save_pretrained(tmp_path / "in")
    write_peft(read_peft(tmp_path / "in", name="x"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["task_type"] == task_type
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        again = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    assert type(again) is type(trained)
    with torch.no_grad():
        expected, found = trained.base_model.model(**inputs)[0], again.base_model.model(**inputs)[0]
    torch.testing.assert_close(found, expected)


def test_the_task_type_passes_through_a_library(tmp_path, make_adapter, peft):
    model, _, targets = build_t5()
    make_adapter(model, target_modules=targets, task_type="SEQ_2_SEQ_LM").save_pretrained(tmp_path / "in")
    library = Library.open(tmp_path / "lib", create=True)
    library.add(read_peft(tmp_path / "in", name="x"))
    assert library["x"].card.task_type == "SEQ_2_SEQ_LM"


NAMES = {
    "unsloth/tiny-model-unsloth-bnb-4bit": (True, "names a quantised copy"),
    "/home/u/.cache/huggingface/hub/models--org--tiny-model/snapshots/0123456789abcdef": (True, None),
    "C:\\models\\tiny-model": (True, None),
    "out/llama/checkpoint-500": (False, None),
}


@pytest.mark.parametrize(
    ("name", "expected"), NAMES.items(), ids=["bnb", "snapshot", "windows", "checkpoint"]
)
def test_the_base_s_name_fits_however_it_was_written(adapter, edit_config, build_base, name, expected):
    edit_config(base_model_name_or_path=name)
    expert, (fits, told) = read_peft(adapter), expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if fits:
            check_base(wrap_base(build_base(), name="org/tiny-model"), expert)
        else:
            with pytest.raises(IncompatibleExpert, match="was trained on 'out/llama/checkpoint-500'"):
                check_base(wrap_base(build_base(), name="org/tiny-model"), expert)
            check_base(wrap_base(build_base(), name=name), expert)
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])
