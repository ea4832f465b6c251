import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.library import Library
from lorary.transforms.merging.survey import survey_experts

FEW = {"model.layers.0.attn.q": (12, 12), "model.layers.0.mlp.up": (20, 12)}


def test_layers_are_described_with_every_experts_rank(experts):
    survey = survey_experts(experts, ["chess", "poetry"], "same")
    assert survey.names == ("chess", "poetry") and survey.base_model == "tiny"
    layer = survey.layers[1]
    assert (layer.path, layer.outputs, layer.inputs) == ("model.layers.0.mlp.up", 20, 12)
    assert layer.ranks == (4, 3) and layer.largest_rank == 4
    assert layer.num_bytes == 4 * 7 * 32


def test_the_dtype_holds_all_factors(experts, make_expert):
    experts["half"] = make_expert("half", dtype=torch.bfloat16, base_fingerprint="f00d")
    both = survey_experts(experts, ["half", "poetry"], "same")
    alone = survey_experts(experts, ["half"], "same")
    assert both.layers[0].dtype == torch.float32 and alone.layers[0].dtype == torch.bfloat16


def test_a_librarys_weights_are_not_read(tmp_path, experts):
    library = Library.open(tmp_path / "lib", create=True)
    for expert in experts.values():
        library.add(expert)
    survey_experts(library, ["sql"], "same")
    # All numbers of one expert become NaN: only reading them would be refused.
    file = tmp_path / "lib" / "sql" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-448:] = b"\xff" * 448
    file.write_bytes(content)
    survey = survey_experts(library, ["sql", "chess"], "same")
    assert survey.layers == survey_experts(experts, ["sql", "chess"], "same").layers


def test_different_layers_are_refused_common_or_all(experts, make_expert):
    experts["few"] = make_expert("few", modules=FEW, base_fingerprint="f00d")
    with pytest.raises(
        IncompatibleExpert,
        match=r"expert 'few' does not change 'model.layers.1.attn.q', and 2 of 4 .* 'common' to merge the 2",
    ):
        survey_experts(experts, ["poetry", "few"], "same")
    assert [layer.path for layer in survey_experts(experts, ["poetry", "few"], "common").layers] == list(FEW)
    layers = survey_experts(experts, ["poetry", "few"], "all").layers
    assert len(layers) == 4 and layers[2].ranks == (3, 0)


def test_nothing_in_common_is_refused(experts, make_expert):
    experts["other"] = make_expert("other", modules={"head": (5, 12)}, base_fingerprint="f00d")
    with pytest.raises(IncompatibleExpert, match="must change a common module, found none in 2 experts"):
        survey_experts(experts, ["poetry", "other"], "common")


def test_layers_of_another_shape_are_refused(experts, make_expert):
    modules = {**FEW, "model.layers.0.attn.q": (12, 14)}
    experts["odd"] = make_expert("odd", modules=modules, base_fingerprint="f00d")
    with pytest.raises(
        IncompatibleExpert,
        match=r"'model.layers.0.attn.q' expert 'poetry' has \[12, 12\] and expert 'odd' has \[12, 14\]",
    ):
        survey_experts(experts, ["poetry", "odd"], "common")


@pytest.mark.parametrize(
    ("base", "fingerprint"),
    [("tiny", "f00d"), ("org/tiny", None), ("elsewhere", "f00d"), ("", None)],
)
def test_one_base_model_is_known_by_fingerprint_or_else_by_the_end_of_its_name(
    experts, make_expert, base, fingerprint
):
    experts["other"] = make_expert("other", base=base, base_fingerprint=fingerprint)
    assert survey_experts(experts, ["other", "poetry"], "same").base_model == (base or "tiny")


@pytest.mark.parametrize(("base", "fingerprint"), [("tiny", "beef"), ("large", None)])
def test_another_base_model_is_refused(experts, make_expert, base, fingerprint):
    experts["other"] = make_expert("other", base=base, base_fingerprint=fingerprint)
    with pytest.raises(
        IncompatibleExpert, match=f"expert 'poetry' is for 'tiny' and expert 'other' for '{base}'"
    ):
        survey_experts(experts, ["poetry", "other"], "same")
