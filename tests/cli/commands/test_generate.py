import io
import json
from dataclasses import replace

import pytest

from lorary.assembly import RoutedModel, load_model
from lorary.cli.commands.generate.prompt import render_prompt
from lorary.data import Example, Task, find_template
from lorary.library import Library
from lorary.models import load_base

PROMPT = "plural of mouse"
SHORT = ("--max-new-tokens", "6")


@pytest.fixture
def routed(trained_library, tiny_base):
    model = load_model(load_base(tiny_base), trained_library)
    yield model
    model.detach()


@pytest.fixture
def answer(lorary, trained_library):
    """Answers as JSON."""
    return lambda *words: json.loads(lorary("generate", trained_library, *SHORT, "--json", *words)[1])


def test_the_answer_is_that_of_the_routed_model(answer, routed):
    expected = routed.generate(PROMPT, max_new_tokens=6)
    assert answer(PROMPT) == {
        "prompt": PROMPT,
        "template": "none",
        "answer": expected,
        "router": "calibrated",
        "expert": None,
    }


def test_one_expert_or_the_base_may_answer_alone(answer, routed):
    with routed.assign(["prices"]):
        expected = routed.generate(PROMPT, max_new_tokens=6)
    assert answer(PROMPT, "--expert", "prices")["answer"] == expected
    with routed.routed(None):
        expected = routed.generate(PROMPT, max_new_tokens=6)
    assert answer(PROMPT, "--router", "none")["answer"] == expected


def test_arrow_takes_its_options(answer, trained_library, tiny_base):
    model = load_model(
        load_base(tiny_base), trained_library, router="arrow", top_k=1, input_norm="rms", temperature=0.5
    )
    options = (
        "--router",
        "arrow",
        "--arrow.top_k",
        "1",
        "--arrow.input_norm",
        "rms",
        "--arrow.temperature",
        "0.5",
    )
    found = answer(PROMPT, *options, "--combine", "outputs", "--show-experts")
    assert found["answer"] == model.generate(PROMPT, max_new_tokens=6)
    ids = model.tokenizer(PROMPT + found["answer"])["input_ids"]
    shares = model.explain(ids).shares_per_token().mean(0).tolist()
    assert list(found["experts"].values()) == pytest.approx(shares)


def test_a_template_goes_around_the_prompt(answer, routed):
    expected = routed.generate(f"{PROMPT}\nAnswer:", max_new_tokens=6)
    assert find_template("plain").cue == "Answer:"
    assert answer(PROMPT, "--template", "plain")["answer"] == expected


@pytest.fixture
def say_prompts(trained_library, tmp_path):
    """Copies the library with settings of prompts in its cards: expert -> template and its arguments."""

    def say(cards):
        library = Library.open(str(tmp_path / "said"), create=True)
        for name, expert in Library.open(trained_library).items():
            prompts = (
                {"prompts": {"with_definition": name == "prices", **cards[name]}} if name in cards else {}
            )
            library.add(replace(expert, card=replace(expert.card, provenance=prompts)))
        return str(tmp_path / "said")

    return say


def test_the_template_is_that_of_the_experts_cards(lorary, say_prompts, answer):
    """Guards a bug: prompts were used as they are, so that experts ended at once."""
    said = say_prompts({"plurals": {"template": "plain"}, "prices": {"template": "plain"}})
    code, output, errors = lorary("generate", said, *SHORT, "--json", PROMPT)
    assert code == 0 and json.loads(output) == answer(PROMPT, "--template", "plain")
    assert "the prompt is put into the plain template of the experts' training; --template" in errors
    code, output, errors = lorary("generate", said, *SHORT, "--json", "--template", "none", PROMPT)
    assert json.loads(output) == answer(PROMPT) and "template" not in errors


def test_a_built_model_has_the_template_of_its_experts(lorary, say_prompts, answer, tmp_path):
    said = say_prompts({"plurals": {"template": "plain"}})
    assert lorary("build", said, "--router", "uniform", "--out", str(tmp_path / "built"))[0] == 0
    code, output, _ = lorary("generate", str(tmp_path / "built"), *SHORT, "--json", PROMPT)
    assert code == 0 and json.loads(output) == answer(PROMPT, "--template", "plain", "--router", "uniform")


def test_experts_of_different_templates_leave_the_prompt_as_it_is(lorary, say_prompts, answer):
    said = say_prompts({"plurals": {"template": "plain"}, "prices": {"template": "chat"}})
    _, output, errors = lorary("generate", said, *SHORT, "--json", PROMPT)
    assert json.loads(output)["template"] == "none"
    assert "different templates (chat and plain), so the prompt is used as it is: choose one with" in errors
    _, output, errors = lorary("generate", said, *SHORT, "--json", "--expert", "plurals", PROMPT)
    assert json.loads(output) == answer(PROMPT, "--template", "plain", "--expert", "plurals")


def test_an_empty_answer_says_so(lorary, trained_library, monkeypatch):
    monkeypatch.setattr(RoutedModel, "generate", lambda *given, **options: [""])
    _, _, errors = lorary("generate", trained_library, PROMPT)
    assert "note: the answer is empty; the model ended at once (--template none)" in errors


def test_the_prompt_may_come_from_stdin(answer, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PROMPT}\n"))
    found = answer("-")
    assert found == answer(PROMPT)


def test_people_see_the_answer_and_the_next_command(lorary, trained_library, routed):
    code, output, _ = lorary("generate", trained_library, PROMPT, *SHORT)
    assert code == 0
    expected = routed.generate(PROMPT, max_new_tokens=6).strip("\n")
    assert output.startswith(f"{expected}\nnext: lorary generate {trained_library} ")
    assert output.endswith("--show-experts\n")


def test_experts_are_shown_with_their_shares(lorary, trained_library, answer):
    code, output, _ = lorary("generate", trained_library, PROMPT, *SHORT, "--show-experts")
    assert code == 0
    # Without colours, names tell the experts apart.
    assert f"tokens   [plurals]{PROMPT} → [plurals]" in output
    found = answer(PROMPT, "--show-experts")
    for name, share in found["experts"].items():
        assert f"{name} {share:.0%}" in output
    assert sum(found["experts"].values()) == pytest.approx(1)
    assert "".join(token["text"] for token in found["tokens"]).startswith(PROMPT)


def test_an_answer_to_a_pipe_is_exact(lorary, trained_library, monkeypatch):
    answer = "\x1b[31mred\x1b[0m \u202eleft"
    monkeypatch.setattr("lorary.assembly.RoutedModel.generate", lambda *args, **kwargs: [answer])
    _, output, _ = lorary("generate", trained_library, PROMPT)
    assert output.startswith(f"{answer}\n")
    _, output, _ = lorary("generate", trained_library, PROMPT, "--json")
    assert json.loads(output)["answer"] == answer
    assert "\x1b" not in output and "\u202e" not in output


def test_a_file_of_prompts_is_answered_in_batches_and_logged(lorary, trained_library, tmp_path, routed):
    prompts = ["plural of mouse", "price of tea", "past of go"]
    text, rows = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    text.write_text("\n".join([prompts[0], "", *prompts[1:]]) + "\n")
    rows.write_text("".join(json.dumps(row) + "\n" for row in ({"prompt": p, "id": 3} for p in prompts)))
    log = tmp_path / "new" / "answers.jsonl"
    for file in (text, rows):
        words = ("--prompts", str(file), "--log", str(log), "--batch-size", "2", "--show-experts")
        code, output, errors = lorary("generate", trained_library, *words, *SHORT)
        assert code == 0, errors
        found = [json.loads(line) for line in output.splitlines()]
        assert [record["prompt"] for record in found] == prompts
        assert [record["answer"] for record in found] == routed.generate(prompts, max_new_tokens=6)
        assert all(set(record["experts"]) == {"plurals", "prices", "past_tense"} for record in found)
        assert "routed by calibrated (the default router)" in errors
    assert [json.loads(line) for line in log.read_text().splitlines()] == found * 2


def test_a_seed_repeats_an_answer_and_another_one_gives_another(answer):
    words = (PROMPT, "--temperature", "2", "--top-p", "0.99", "--top-k", "200", "--max-new-tokens", "24")
    first, again, other = (answer(*words, "--seed", seed)["answer"] for seed in ("1", "1", "2"))
    assert first == again != other


def test_examples_stand_before_a_prompt_in_its_template(tiny_base):
    tokenizer = load_base(tiny_base).tokenizer
    examples = (Example("1 + 1", ("2",)), Example("2 + 2", ("4",)))
    shots = Task("prompt", {"train": examples}, definition="Add.")
    plain = render_prompt("3 + 3", find_template("plain"), shots, tokenizer)
    assert plain == "Add.\n\n1 + 1\nAnswer: 2\n\n2 + 2\nAnswer: 4\n\n3 + 3\nAnswer:"
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    chat = render_prompt("3 + 3", find_template("chat"), shots, tokenizer)
    assert chat.startswith("<user>1 + 1<assistant>2<user>2 + 2<assistant>4<user>") and "3 + 3" in chat
