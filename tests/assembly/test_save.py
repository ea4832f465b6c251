import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from lorary.assembly import load_model, save_model
from lorary.assembly.saved_model import is_saved_model
from lorary.errors import BaseModelError, FormatError, IncompatibleExpert, LibraryError
from lorary.facts import FACTS, find_task_facts
from lorary.library import Library
from lorary.models import load_base
from lorary.routing import configure_router
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.packed import TrainedRouter
from tests.facts.texts import take_for_examples

ROUTES = {
    "arrow": {"top_k": 2, "temperature": 0.5},
    "arrow tied": {"tie_inputs": True},
    "spectr": {},
    "lag": {},
    "uniform": {},
    "fixed": {"weights": {"morse": 0.5, "dates": -1.0}},
    "single": {"expert": "prices"},
    "mean_activation": {},
    "phatgoose": {},
    "moe": {"top_k": 3},
    "retrieval": {"top_k": 2},
    "calibrated": {"top_k": 2},
}
LATE = "aardvark"  # comes first in a library, last on the model


@pytest.fixture
def base(build_tiny_base, tmp_path):
    """A tiny base model that can be loaded again by its name."""
    folder = tmp_path / "bases" / "tiny"
    built = build_tiny_base()
    built.model.save_pretrained(folder)
    built.tokenizer.save_pretrained(folder)
    return load_base(str(folder), dtype=torch.float32)


@pytest.fixture
def late(draw_expert, base):
    return draw_expert(base, LATE)


@pytest.fixture
def full(late, model, sequences):
    """The model with one more expert, and everything that routers may need."""
    model.add_expert(late)
    chance = torch.Generator().manual_seed(0)
    rows = {
        path: torch.randn(len(model.names), layer.a.shape[2], generator=chance)
        for path, layer in model.stack.layers.items()
    }
    texts = {**sequences, LATE: sequences["dates"][:1]}  # no tie with them
    model.provide(find_task_facts(model, {}, take_for_examples(texts), ["embeddings"]))
    trained = TrainedRouter(MoeForm(experts=model.names), {path: row.flatten() for path, row in rows.items()})
    model.provide(means=rows, gates={path: -row for path, row in rows.items()}, moe=trained.pack())
    return model


def weights_by_name(model, text="morse: ... ---"):
    found = model.explain(text)
    return {name: found.weights[..., place] for place, name in enumerate(found.experts)}


def save_beside(model, place):
    save_model(model, place)
    model.detach()
    return place


@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("name", ROUTES)
def test_a_model_that_was_saved_and_loaded_answers_and_routes_as_before(
    full, name, combine, tmp_path, input_ids
):
    router = name.split()[0]
    full.set_router(router, configure_router(router, ROUTES[name]), combine)
    logits, weights = full(input_ids=input_ids).logits, weights_by_name(full)
    loaded = load_model(str(save_beside(full, tmp_path / "my-model")))
    torch.testing.assert_close(loaded(input_ids=input_ids).logits, logits, rtol=1e-4, atol=1e-4)
    assert loaded.routing[0] == router
    assert loaded.names == tuple(sorted(full.names))
    for expert, expected in weights_by_name(loaded).items():
        torch.testing.assert_close(expected, weights[expert], rtol=1e-4, atol=1e-4)


def test_the_folder_may_be_moved_and_nothing_is_computed_again(full, tmp_path, monkeypatch, input_ids):
    for router in ("arrow", "calibrated"):
        full.set_router(router)
        save_model(full, tmp_path / router)
    expected = full(input_ids=input_ids).logits
    full.detach()
    shutil.rmtree(tmp_path / "cache")
    for router in ("arrow", "calibrated"):
        shutil.move(tmp_path / router, tmp_path / "elsewhere" / router)
    for fact in ("prototypes", "calibrations"):
        monkeypatch.setitem(FACTS, fact, replace(FACTS[fact], compute=None))
    load_model(str(tmp_path / "elsewhere" / "arrow")).detach()
    loaded = load_model(str(tmp_path / "elsewhere" / "calibrated"))
    torch.testing.assert_close(loaded(input_ids=input_ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_the_base_model_can_come_along(full, tmp_path, input_ids, base):
    expected = full(input_ids=input_ids).logits
    save_model(full, tmp_path / "my-model", with_base=True)
    torch.testing.assert_close(full(input_ids=input_ids).logits, expected)  # it was left as it was
    full.detach()
    shutil.rmtree(base.name)
    loaded = load_model(str(tmp_path / "my-model"))
    torch.testing.assert_close(loaded(input_ids=input_ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert loaded.base.name == base.name
    assert loaded.base.fingerprint == base.fingerprint


def test_another_router_other_options_or_none_may_be_asked_for(full, tmp_path):
    place = str(save_beside(full, tmp_path / "my-model"))
    changed = load_model(place, temperature=3.0)
    assert (changed.routing[1].top_k, changed.routing[1].temperature) == (3, 3.0)
    other = load_model(place, router="phatgoose", combine="factors")
    assert (other.routing[0], other.routing[2]) == ("phatgoose", "factors")
    assert load_model(place, router=None).routing[0] is None


def test_what_is_in_the_folder_is_plain(full, tmp_path):
    place = save_beside(full, tmp_path / "my-model")
    assert is_saved_model(place)
    assert not is_saved_model(tmp_path)
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md",
        "experts",
        "lorary_model.json",
        "material.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    text = "made of wood"
    assert AutoTokenizer.from_pretrained(place)(text)["input_ids"] == full.tokenizer(text)["input_ids"]
    said = json.loads((place / "lorary_model.json").read_text())
    assert said["router"] == "arrow"
    assert said["options"]["top_k"] == 3
    assert said["versions"].keys() == {"lorary", "torch", "transformers"}
    assert sorted(said["experts"]) == sorted(full.names)
    assert list(Library.open(place / "experts")) == sorted(full.names)
    assert 'lorary.load_model("this/folder")' in (place / "README.md").read_text()


def test_controls_stay_behind(base, experts, draw_expert, tmp_path):
    model = load_model(base, experts, controls={"random": draw_expert(base, "random")})
    place = save_beside(model, tmp_path / "my-model")
    assert load_model(str(place)).controls == ()


def test_an_encoder_of_texts_has_to_be_given_again(model, tmp_path):
    def encode(texts):
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

    embeddings = {name: encode([name]) for name in model.names}
    model.provide(embeddings=embeddings, encoder=encode)
    model.set_router("retrieval")
    place = str(save_beside(model, tmp_path / "my-model"))
    with pytest.raises(
        ValueError, match=r"made by an encoder of texts, which cannot be saved: give the same"
    ):
        load_model(place)
    assert load_model(place, encoder=encode).routing[0] == "retrieval"


def test_an_encoder_that_made_nothing_is_refused(full, tmp_path):
    place = str(save_beside(full, tmp_path / "my-model"))
    with pytest.raises(ValueError, match=r"were made by the base model: leave out encoder=\.\.\."):
        load_model(place, encoder=lambda texts: torch.ones(len(texts), 2))


def test_a_place_that_is_taken_is_refused_and_left_alone(model, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("all my work")
    with pytest.raises(LibraryError, match="exists and is not empty: choose another place"):
        save_model(model, tmp_path / "taken")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "all my work"
    (tmp_path / "empty").mkdir()
    save_model(model, tmp_path / "empty")
    assert is_saved_model(tmp_path / "empty")


def test_a_full_disk_leaves_nothing_half_written(model, tmp_path, monkeypatch):
    def fail(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lorary.assembly.save.Path.write_bytes", fail)
    with pytest.raises(LibraryError, match=r"cannot write .*No space left on device"):
        save_model(model, tmp_path / "models" / "mine")
    assert list((tmp_path / "models").iterdir()) == []


def change_json(place, **changes):
    path = place / "lorary_model.json"
    content = {**json.loads(path.read_text()), **changes}
    content.pop("sha256", None)  # as its author could
    path.write_text(json.dumps(content))


def test_a_folder_of_another_format_or_with_a_damaged_list_is_refused(model, tmp_path):
    place = save_beside(model, tmp_path / "my-model")
    change_json(place, lorary_model=2)
    with pytest.raises(
        FormatError, match=r"must be of format 1, found 2: load it with the version of lorary"
    ):
        load_model(str(place))
    change_json(place, lorary_model=1, extra=3)
    with pytest.raises(FormatError, match=r"missing or unknown: \['extra'\]"):
        load_model(str(place))


@pytest.mark.parametrize(
    ("field", "value"),
    [("dtype", "save"), ("experts", ["dates"]), ("experts", {"dates": 3}), ("has_base", "no"), ("router", 7)],
)
def test_values_that_are_not_what_they_should_be_are_refused(model, tmp_path, field, value):
    place = save_beside(model, tmp_path / "my-model")
    change_json(place, **{field: value})
    with pytest.raises(FormatError, match=field.rstrip("s")):
        load_model(str(place))


def test_an_expert_that_was_replaced_in_its_library_is_not_saved_as_the_one_that_was_loaded(
    base, experts, tmp_path
):
    """Its prototypes and calibrations would have been filed under weights that are not theirs."""
    library = Library.open(tmp_path / "library", create=True)
    for name, expert in experts.items():
        library[name] = expert
    model = load_model(base, library)
    library["dates"] = library["prices"]
    with pytest.raises(LibraryError, match=r"expert 'dates' in the library is not the one this model was"):
        save_model(model, tmp_path / "my-model")
    assert not (tmp_path / "my-model").exists()


def test_paths_are_places_too_and_an_empty_combine_is_no_default(model, tmp_path):
    place = save_beside(model, tmp_path / "my-model")
    with pytest.raises(ValueError, match="combine must be one of"):
        load_model(place, combine="")
    assert load_model(place).routing[0] == "arrow"


def test_experts_and_material_that_changed_are_refused(full, tmp_path):
    place = save_beside(full, tmp_path / "my-model")
    library = Library.open(place / "experts")
    shutil.copytree(place / "experts" / "dates", tmp_path / "kept")
    library["dates"] = library["morse"]
    with pytest.raises(IncompatibleExpert, match=r"expert 'dates' in .* is not the one that was saved"):
        load_model(str(place))
    shutil.rmtree(place / "experts" / "dates")
    shutil.copytree(tmp_path / "kept", place / "experts" / "dates")
    with (place / "material.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(FormatError, match=r"material\.safetensors' is not what was saved"):
        load_model(str(place))
    (place / "material.safetensors").unlink()
    with pytest.raises(FormatError, match=r"material\.safetensors' is missing"):
        load_model(str(place))


def test_a_weights_file_that_was_changed_is_refused(model, tmp_path):
    place = save_beside(model, tmp_path / "my-model")
    file = place / "experts" / "dates" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match="dates"):
        load_model(str(place))


def test_another_base_model_under_the_same_name_is_refused(model, tmp_path, base):
    place = save_beside(model, tmp_path / "my-model")
    change_json(place, base_fingerprint="0" * 24)
    with pytest.raises(BaseModelError, match=r"was built on .* with fingerprint 0+, the base model found"):
        load_model(str(place))


def test_what_is_no_saved_model_and_what_the_folder_decides_is_refused(model, base, tmp_path):
    with pytest.raises(ValueError, match=r"takes the folder of a saved model, found 'smollm2-135m': give"):
        load_model("smollm2-135m")
    with pytest.raises(ValueError, match="found BaseModel"):
        load_model(base)
    place = str(save_beside(model, tmp_path / "my-model"))
    with pytest.raises(ValueError, match="has its own tokenizer and revision: leave them out"):
        load_model(place, revision="main")
