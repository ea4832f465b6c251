"""Commands that refuse experts for another base model, and ``--trust-base``."""

import json

import pytest

from lorary.library import Library

FEW = ["--tasks", "synthetic:prices", "synthetic:plurals", "--evaluation.num_examples", "2"]
SHORT = ["--max-new-tokens", "2"]
PAIR = ["--experts", "plurals,prices"]
ROUTES = ["--routes", "base,uniform"]
COMMANDS = {
    "generate": lambda base, out: ["two", *SHORT, "--base", base],
    "generate, no router": lambda base, out: ["two", *SHORT, "--base", base, "--router", "none"],
    "generate, one expert": lambda base, out: ["two", *SHORT, "--base", base, "--expert", "prices"],
    "build": lambda base, out: ["--base", base, "--router", "uniform", "--out", out],
    "export": lambda base, out: ["prices", "--fold", "--base", base, "--out", out],
    "eval": lambda base, out: [*FEW, *ROUTES, "--base", base],
    "report": lambda base, out: [
        *(*FEW, *ROUTES, "--base", base, "--out", out, "--router", "uniform"),
        *("--traced-examples", "1", "--transfer-examples", "0", "--num-samples", "0"),
    ],
    "merge": lambda base, out: ["--out", out],
    "merge, two": lambda base, out: [*PAIR, "--out", "both"],
    "merge, regmean": lambda base, out: [*PAIR, "--method", "regmean", *FEW[:3], "--out", out],
    "merge, lorahub": lambda base, out: [
        *(*PAIR, "--method", "lorahub", *FEW[:2], "--options", "num_steps=8", "--out", out)
    ],
    "subtract": lambda base, out: ["plurals", "--out", out],
    "calibrate": lambda base, out: ["--base", base],
    "cluster": lambda base, out: ["--num-clusters", "2", "--out", out + ".yaml"],
    "adapt": lambda base, out: [
        *(FEW[0], "new=generated:plurals", "--base", base, "--out", out, "--method", "average"),
        *("--shots", "4", "--training.max_steps", "1"),
    ],
    "transfer": lambda base, out: [
        *(*FEW[:2], "--base", base, "--out", out, "--starts", "experts", "--training.max_steps", "1")
    ],
}


@pytest.fixture
def mixed_library(tmp_path, trained_library):
    """One expert of three names another base model."""
    library = Library.open(str(tmp_path / "mixed"), create=True)
    for name, expert in Library.open(trained_library).items():
        library.add(expert.with_base("org/elsewhere") if name == "prices" else expert)
    return library


@pytest.mark.parametrize("command", COMMANDS)
def test_experts_for_another_base_are_refused_with_the_option_that_takes_them(
    lorary, mixed_library, tiny_base, tmp_path, command
):
    words = COMMANDS[command](tiny_base, str(tmp_path / "out"))
    run = [command.split(",")[0], mixed_library.url, *words]
    code, _, errors = lorary(*run)
    assert code == 2 and "org/elsewhere" in errors and "--trust-base" in errors
    with pytest.warns(UserWarning, match=r"'\w+' was trained on .*only the shapes of layers are checked"):
        code, _, errors = lorary(*run, "--trust-base")
    assert code == 0, errors


def test_a_merge_for_a_trusted_base_is_for_the_first_expert_s(lorary, mixed_library, tiny_base):
    with pytest.warns(UserWarning, match="'prices' was trained on 'org/elsewhere': treated as trained on"):
        lorary("merge", mixed_library.url, "--experts", "plurals,prices", "--out", "both", "--trust-base")
    assert mixed_library["both"].base_model == tiny_base


def test_a_merge_for_the_base_of_a_recipe_trusts_that(lorary, mixed_library, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    models = "".join(f"  - model: {name}\n    parameters: {{weight: 1}}\n" for name in ("plurals", "prices"))
    recipe.write_text(f"models:\n{models}merge_method: task_arithmetic\nbase_model: org/third\n")
    words = ["merge", mixed_library.url, "--recipe", str(recipe), "--out", "both"]
    code, _, errors = lorary(*words)
    assert code == 2 and "org/third" in errors and "or --trust-base" in " ".join(errors.split())
    with pytest.warns(UserWarning, match="1 more expert of .*: treated as trained on 'org/third'"):
        assert lorary(*words, "--trust-base")[0] == 0
    assert mixed_library["both"].base_model == "org/third"


def test_several_bases_without_a_choice_are_refused_with_both_options(lorary, mixed_library):
    code, _, errors = lorary("generate", mixed_library.url, "two")
    assert (
        code == 2
        and "choose the base model with --base, or add --trust-base if they are the same model" in errors
    )


def test_experts_of_several_revisions_are_refused_with_what_to_do(lorary, trained_library, tmp_path):
    library = Library.open(str(tmp_path / "revisions"), create=True)
    for name, expert in Library.open(trained_library).items():
        library.add(expert.with_base(expert.base_model, revision=f"v{len(name)}"))
    for words in (["generate", library.url, "two"], ["build", library.url, "--out", str(tmp_path / "out")]):
        code, _, errors = lorary(*words)
        assert code == 2 and "for one revision of their base model, found 'past_tense' for 'v10'" in errors
        assert (
            "choose the revision; if their weights are equal, use trust_base=True or --trust-base" in errors
        )


def test_an_adapter_is_added_for_the_base_given_by_hand(lorary, mixed_library, tiny_base, tmp_path):
    folder = str(tmp_path / "prices")
    assert lorary("export", mixed_library.url, "prices", "--out", folder)[0] == 0
    assert lorary("library", "add", mixed_library.url, folder, "--name", "right", "--base", tiny_base)[0] == 0
    code, output, _ = lorary("library", "show", mixed_library.url, "right", "--json")
    assert code == 0 and json.loads(output)["base_model"] == tiny_base


@pytest.mark.parametrize("words", [["generate", "two"], ["export", "prices", "--out", "x"]], ids=" ".join)
def test_the_option_is_refused_where_nothing_is_compared(
    lorary, mixed_library, trained_library, tiny_base, tmp_path, words
):
    place = trained_library
    if words[0] == "generate":
        place = str(tmp_path / "built")
        assert lorary("build", trained_library, "--router", "uniform", "--out", place)[0] == 0
    code, _, errors = lorary(words[0], place, *words[1:], "--trust-base")
    assert code == 2 and "--trust-base" in errors and "leave" in errors
