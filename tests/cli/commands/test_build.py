import json

import pytest

from lorary.assembly import load_model
from lorary.library import Library

PROMPT = "plural of mouse"


@pytest.fixture
def build(lorary, trained_library, tmp_path):
    """Builds a model from a library of three experts."""
    return lambda *words: lorary("build", trained_library, "--out", str(tmp_path / "my-model"), *words)


def test_the_model_is_loaded_with_the_line_that_is_printed(build, tmp_path, trained_library, tiny_base):
    code, output, said = build("--router", "calibrated", "--calibrated.top_k", "2")
    assert code == 0
    line = f'lorary.load_model("{tmp_path / "my-model"}")'
    assert line in output
    assert f"next: lorary generate {tmp_path / 'my-model'} PROMPT --show-experts" in output
    assert "building 3 experts, router calibrated, without the base model" in said
    model = load_model(str(tmp_path / "my-model"))
    answer = model.generate(PROMPT, max_new_tokens=6)
    model.detach()
    expected = load_model(tiny_base, trained_library, router="calibrated", top_k=2)
    assert answer == expected.generate(PROMPT, max_new_tokens=6)


def test_a_built_model_answers_with_its_own_router_and_its_experts_alone(build, lorary, tmp_path):
    assert build("--router", "single", "--single.expert", "prices")[0] == 0
    place = str(tmp_path / "my-model")

    def ask(*words):
        return json.loads(lorary("generate", place, PROMPT, "--max-new-tokens", "6", "--json", *words)[1])

    own = ask("--show-experts")
    assert own["router"] == "single"
    assert own["experts"] == {"past_tense": 0, "plurals": 0, "prices": 1}
    alone = ask("--expert", "prices")
    assert (alone["router"], alone["expert"], alone["answer"]) == (None, "prices", own["answer"])
    assert ask("--router", "uniform")["router"] == "uniform"
    assert ask("--router", "none")["router"] == "none"


def test_a_built_model_with_its_base_needs_no_other_whoever_answers(lorary, build, tmp_path, monkeypatch):
    """Another router or one expert used to ask for the base model by its name."""
    assert build("--with-base")[0] == 0
    place = str(tmp_path / "my-model")
    path = tmp_path / "my-model" / "lorary_model.json"
    content = {**json.loads(path.read_text()), "base_model": "nowhere/tiny"}
    del content["sha256"]
    path.write_text(json.dumps(content))
    for words in ((), ("--router", "uniform"), ("--router", "none"), ("--expert", "prices")):
        code, _, said = lorary("generate", place, PROMPT, "--max-new-tokens", "2", *words)
        assert code == 0, said


def test_options_are_never_ignored(lorary, build, tmp_path):
    assert build("--router", "arrow", "--arrow.top_k", "2", "--combine", "factors")[0] == 0
    place = str(tmp_path / "my-model")
    code, _, said = lorary("generate", place, PROMPT, "--arrow.top_k", "1")
    assert code == 2
    assert "options of router 'arrow' are given, but it is not used: add --router arrow" in said
    code, _, said = lorary("generate", place, PROMPT, "--expert", "price")
    assert (code, "'prices'" in said) == (2, True)

    def ask(*words):
        return json.loads(lorary("generate", place, PROMPT, "--max-new-tokens", "6", "--json", *words)[1])

    model = load_model(place, top_k=1, combine="outputs")
    expected = model.generate(PROMPT, max_new_tokens=6)
    model.detach()
    found = ask("--router", "arrow", "--arrow.top_k", "1", "--combine", "outputs")
    assert found["answer"] == expected
    assert ask()["answer"] == load_model(place).generate(PROMPT, max_new_tokens=6)


def test_the_base_model_comes_along_if_asked_for_and_json_says_what_is_there(build, tmp_path):
    code, output, _ = build("--with-base", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["experts"] == ["past_tense", "plurals", "prices"]
    assert found["with_base"]
    assert found["bytes"] > 0
    assert (tmp_path / "my-model" / "base" / "config.json").is_file()
    assert list(Library.open(tmp_path / "my-model" / "experts")) == found["experts"]


def test_what_cannot_be_done_is_refused_before_anything_is_loaded(build, tmp_path, monkeypatch):
    monkeypatch.setattr("lorary.cli.base_model.load_base", None)
    for words, complaint in (
        (("--router", "arow"), "arrow"),
        (("--router", "arrow", "--arrow.top_k", "9"), "top_k"),
        (
            ("--arrow.top_k", "2"),
            "options of router 'arrow' are given, but it is not used: add --router arrow",
        ),
        (("--router", "phatgoose"), "router 'phatgoose' needs the gates of every expert"),
    ):
        code, _, said = build(*words)
        assert (code, complaint in said) == (2, True)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "thesis.txt").write_text("all my work")
    code, _, said = build()
    assert code == 2
    assert "exists and is not empty: choose another place" in said


def test_a_built_model_names_its_base_itself(build, lorary, tmp_path):
    assert build()[0] == 0
    code, _, said = lorary("generate", str(tmp_path / "my-model"), PROMPT, "--base", "smollm2-135m")
    assert code == 2
    assert (
        "a built model has its own base model: leave out --base, --revision, --trust-base and --quantize"
        in said
    )


def test_commands_that_want_a_library_say_where_a_built_model_has_it(lorary, build, tmp_path):
    assert build()[0] == 0
    place = str(tmp_path / "my-model")
    code, _, said = lorary("eval", place, "--tasks", "generated:plurals")
    assert code == 2
    assert f"is a built model, not a library: use its library '{place}/experts'" in said.replace("\n", " ")
    assert lorary("prototypes", f"{place}/experts")[0] == 0
