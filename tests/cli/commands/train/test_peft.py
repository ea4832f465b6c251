"""Experts of other kinds, trained by PEFT's layers on the command line."""

import json

import pytest

from lorary.library import Library

TASKS = ("--tasks", "generated:plurals", "generated:prices")


def test_experts_of_a_kind_are_trained_stored_and_known(train_quickly, lorary, tmp_path):
    words = (*TASKS, "--kind", "dora", "--training.target_modules", "[q_proj]")
    code, output, errors = train_quickly(*words)
    assert code == 0, errors
    assert "experts   2, one after the other, by PEFT: dora" in output
    library = Library.open(str(tmp_path / "lib"))
    assert {name: library[name].kinds for name in library} == {"plurals": ["dora"], "prices": ["dora"]}
    card = library["prices"].card
    assert card.tasks == ("prices",) and card.provenance["prompts"]["template"] == "plain"
    place = tmp_path / "lib-run-peft-dora"
    assert (place / "curves.png").is_file() and (place / "prices" / "run.json").is_file()
    assert output.splitlines()[-1].endswith("--routes base,expert:plurals,expert:prices")
    code, output, _ = train_quickly(*words, "--json")
    assert code == 0 and json.loads(output)["known"] == ["plurals", "prices"]
    code, _, errors = train_quickly(*TASKS, "--kind", "ia3")
    assert (
        code == 2 and "already has 'plurals' (it is of another kind, or has other settings of PEFT)" in errors
    )


def test_a_file_with_peft_s_configuration_is_used(train_quickly, tmp_path):
    file = tmp_path / "ia3.yaml"
    file.write_text("peft_type: IA3\ntarget_modules: [k_proj, down_proj]\nfeedforward_modules: [down_proj]\n")
    code, _, errors = train_quickly(*TASKS, "--expert", "both", "--peft-config", str(file))
    assert code == 0, errors
    assert Library.open(str(tmp_path / "lib"))["both"].kinds == ["ia3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--kind", "doar"),
            "kind must be one of dora, ia3, shira, prompt, prefix, found 'doar': did you mean",
        ),
        (("--method", "peft"), "--method peft needs --kind or --peft-config, and not both"),
        (("--method", "moe", "--kind", "ia3"), "leave out --method moe"),
        (("--peft-config", "none.json"), "file 'none.json' does not exist: check --peft-config"),
        (("--kind", "ia3", "--continue", "prices"), "--continue is for training experts: leave it out"),
    ],
)
def test_what_does_not_suit_is_refused_before_a_library_is_made(train_quickly, tmp_path, words, message):
    code, _, errors = train_quickly(*TASKS, *words)
    assert code == 2 and message in errors
    assert not (tmp_path / "lib").exists()
