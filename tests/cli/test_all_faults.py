"""All that is wrong with the options of a command is told at once, before a model is loaded."""

import pytest

TASKS = ("--tasks", "generated:plurals")
# Command after the library -> what must be told.
WRONG = {
    ("adapt", *TASKS, "--method", "nope,nearest", "--by", "calibratd", "--retrieve", "99"): [
        "--method: no method is named 'nope'",
        "no retrieval is named 'calibratd': did you mean 'calibrated'?",
        "retrieve must be at most 3 experts, all that there are, found 99",
    ],
    (
        *("adapt", *TASKS, "--adapt.granularity", "head", "--training.max_steps", "three"),
        *("--seeds", "x", "--multi-task", "plural", "--training.learning_rate", "-1"),
    ): [
        "adapt.granularity must be one of 'model', 'block', 'layer', 'linear', found head",
        "training.max_steps must be a whole number or null, found three",
        "--seeds must be whole numbers, such as 0,1,2, found 'x'",
        "multi_task must be an expert of the library, found 'plural': did you mean 'plurals'?",
        "learning_rate must be positive, found -1.0",
        "see lorary adapt --help",
    ],
    ("adapt", *TASKS, "--method", "fresh", "--adapt.limit", "2", "--adapt.num_skills", "3", "--store", "x"): [
        "--adapt.limit is a setting of methods lorahub",
        "--adapt.num_skills is a setting of methods poly-scratch",
        "--store must be one of the methods of this run",
    ],
    ("transfer", *TASKS, "--starts", "nope,expert", "--experts", "nobody,plural", "--training.seed", "x"): [
        "training.seed must be a whole number, found x",
        "found 'nope': known are clusters, experts, general",
        "found 'expert': did you mean 'experts'?",
        "the library has no expert 'nobody'",
        "the library has no expert 'plural': did you mean 'plurals'?",
    ],
    (
        *("train", *TASKS, "--method", "mhr", "--skills.granularity", "head", "--skills.num_splits", "1"),
        *("--training.rank", "0", "--tags", "t", "--report-to", "nobody", "--general"),
    ): [
        "skills.granularity must be one of 'model', 'block', 'layer', 'linear', found head",
        "--method mhr needs --skills.num_splits of at least 2, such as 8, found 1",
        "rank must be at least 1, found 0",
        "--tags are for the cards of --method experts, found --method mhr",
        "--report-to",
        "--general is for training experts: leave it out with --method mhr",
    ],
    ("train", *TASKS, "--method", "nope", "--training.rank", "x"): [
        "invalid choice: 'nope' (choose from",
        "training.rank must be a whole number, found x",
    ],
    ("generate", "--router", "arow", "--top-p", "2", "--seed", "x", "--device", "cuda:99", "--skills", "s"): [
        "seed must be a whole number or null, found x",
        "no router is named 'arow': did you mean 'arrow'",
        "--top-p must be above 0 and at most 1",
        "--device must be a device of this machine",
        "--skills names the skills of a task: add --task",
        "give a prompt, or a file of prompts with --prompts, and not both",
    ],
    (
        *("eval", "--evaluation.seed", "x", "--data", "d", "--lm_eval.num_fewshot", "y"),
        *("--metrics", "los", "--device", "cuda:99"),
    ): [
        "evaluation.seed must be a whole number, found x",
        "did you mean 'loss'?",
        "--device must be a device of this machine",
        "lm_eval.num_fewshot must be a whole number or null, found y",
        "lorary eval needs --tasks or --harness",
        "--data is for --harness",
    ],
}


@pytest.mark.parametrize("words", WRONG)
def test_everything_is_told(lorary, trained_library, monkeypatch, words):
    def refuse(*given, **named):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lorary.cli.base_model.load_base", refuse)
    command, *options = words
    code, _, told = lorary(command, trained_library, *options)
    text = " ".join(told.split())
    assert code == 2
    for message in WRONG[words]:
        assert message in text


def test_a_file_of_options_has_its_wrong_values_told_too(lorary, trained_library, tmp_path):
    (tmp_path / "options.yaml").write_text(
        "training: {max_steps: three, epochs: many}\nadapt: {limit: high}\n"
    )
    words = ("--config", str(tmp_path / "options.yaml"), *TASKS, "--method", "nope")
    code, _, told = lorary("adapt", trained_library, *words)
    assert code == 2
    for message in ("max_steps must be", "epochs must be", "limit must be", "no method is named 'nope'"):
        assert message in told
