from dataclasses import dataclass

import pytest
from jsonargparse import ArgumentParser

from lorary.cli.spelling import check_options, read_config


@dataclass(frozen=True, kw_only=True)
class Speed:
    rate: float = 0.1
    limits: dict[str, int] | None = None


@pytest.fixture
def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("library")
    parser.add_argument("--task", type=str | None)
    parser.add_class_arguments(Speed, "speed")
    return parser


def test_known_options_pass(parser):
    check_options(parser, ["./lib", "--task", "x", "--task=x", "--speed.rate", "1", "--", "--anything"])


def test_known_keys_pass_with_whatever_a_mapping_holds(parser, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("library: x\nspeed:\n  rate: 2\n  limits: {anything: 1}\n")
    read_config(parser, str(path))


def test_every_unknown_option_is_named_with_the_nearest(parser):
    with pytest.raises(ValueError, match="unknown") as caught:
        check_options(parser, ["./lib", "--taks", "x", "--speed.rat=3"])
    assert str(caught.value) == (
        "unknown option 'taks': did you mean 'task'?; unknown option 'speed.rat': did you mean 'speed.rate'?"
    )


def test_every_unknown_key_is_named_with_the_nearest(parser, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("libary: x\nspeed:\n  rat: 3\n")
    with pytest.raises(ValueError, match="unknown") as caught:
        read_config(parser, str(path))
    assert str(caught.value) == (
        f"{str(path)!r} has an unknown option 'libary': did you mean 'library'?; "
        "unknown option 'speed.rat': did you mean 'speed.rate'?"
    )


def test_abbreviations_are_refused(lorary):
    code, _, errors = lorary("library", "ls", "./lib", "--js")
    assert code == 2
    assert errors == "error: unknown option 'js': did you mean 'json'?\n"


@pytest.mark.parametrize(
    ("command", "word", "told"),
    [
        ("train", "--rank", "did you mean 'general.rank' or 'training.rank'?"),
        ("train", "--lr", "did you mean 'training.learning_rate'?"),
        ("train", "--max-steps", "did you mean 'training.max_steps'?"),
        ("train", "--training.max_step", "did you mean 'training.max_steps'?"),
        ("generate", "--temp", "did you mean 'temperature' or 'template' or 'template-args'?"),
        ("train", "--frobnicate", "lorary train --help-all lists all"),
    ],
)
def test_an_option_is_found_by_its_own_name_its_beginning_or_another_tools_word(lorary, command, word, told):
    code, _, errors = lorary(command, "lib", word, "1")
    assert code == 2 and errors == f"error: unknown option {word[2:]!r}: {told}\n"


def test_missing_options_are_told_as_they_are_typed(lorary):
    code, _, errors = lorary("train")
    assert code == 2 and "the following arguments are required: library, --tasks: see lorary train" in errors
