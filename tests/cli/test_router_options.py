import json

import pytest

from lorary.assembly import load_model
from lorary.cli.router_options import list_ready_routers
from lorary.models import load_base
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER, ROUTERS
from lorary.routing.named import list_options
from lorary.routing.uses import describe_by_uses

PROMPT = "plural of mouse"
SHORT = ("--max-new-tokens", "6")
CHOICES = {
    "spectr": ({"top_k": 1, "input_norm": "rms"}, ("--spectr.top_k", "1", "--spectr.input_norm", "rms")),
    "lag": ({"candidates": 2, "abstain": 0.3}, ("--lag.candidates", "2", "--lag.abstain", "0.3")),
    "arrow": ({"tie_inputs": True}, ("--arrow.tie_inputs", "true")),
    "seqr": (
        {"standardise": True, "generic": ("Some text.", "1 2 3")},
        ("--seqr.standardise", "true", "--seqr.generic", '["Some text.", "1 2 3"]'),
    ),
    "logo": (
        {"top_k": 2, "measure": "entropy", "runs": "each"},
        ("--logo.top_k", "2", "--logo.measure", "entropy", "--logo.runs", "each"),
    ),
    "qa_flora": ({"top_k": 2}, ("--qa_flora.top_k", "2")),
    "card": ({"top_k": 2, "chunk": 3}, ("--card.top_k", "2", "--card.chunk", "3")),
    "uniform": ({}, ()),
    "fixed": (
        {"weights": {"prices": 0.5, "plurals": -0.2}},
        ("--fixed.weights", '{"prices": 0.5, "plurals": -0.2}'),
    ),
    "single": ({"expert": "prices"}, ("--single.expert", "prices")),
    "calibrated": (
        {"top_k": 2, "generic": ("Some text.", "1 2 3")},
        ("--calibrated.top_k", "2", "--calibrated.generic", '["Some text.", "1 2 3"]'),
    ),
}
# A trained router is in the library or it is not; see tests/cli/commands/train/test_moe.py.
OFFERED = [*CHOICES, "moe"]
NEEDED = {"hilora": "components", "phatgoose": "gates", "mean_activation": "means", "retrieval": "embeddings"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("router", CHOICES)
def test_a_command_routes_as_load_model_does(lorary, trained_library, tiny_base, router):
    options, words = CHOICES[router]
    model = load_model(load_base(tiny_base), trained_library, router=router, combine="factors", **options)
    code, output, _ = lorary(
        "generate",
        trained_library,
        PROMPT,
        *SHORT,
        "--json",
        "--router",
        router,
        "--combine",
        "factors",
        *words,
    )
    assert code == 0
    assert json.loads(output)["answer"] == model.generate(PROMPT, max_new_tokens=6)


def test_every_router_that_needs_no_data_is_offered():
    assert set(list_ready_routers()) == set(OFFERED)


@pytest.mark.parametrize(
    ("command", "offered"),
    [("generate", OFFERED), ("build", OFFERED), ("eval", ROUTERS), ("report", ROUTERS)],
)
def test_the_help_offers_what_works(lorary, command, offered):
    code, output, _ = lorary(command, "--help-all")
    assert code == 0
    text = " ".join(output.split())
    for router in offered:
        assert router in text or command == "report"
        for option in list_options(router):
            assert f"--{router}.{option}" in text
    for router in set(ROUTERS) - set(offered):
        assert router not in text


@pytest.mark.parametrize("router", sorted(set(ROUTERS) - set(OFFERED)))
def test_a_router_that_needs_data_is_refused_with_what_to_do(lorary, trained_library, router):
    field = NEEDED[router]
    expected = (
        f"router {router!r} needs the {field} of every expert, which only `lorary eval` and `lorary report` "
    )
    code, _, errors = lorary("generate", trained_library, PROMPT, "--router", router)
    assert code == 2
    assert expected in errors and "find_task_facts and pass them to load_model(facts=...)" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--router", "spectr", "--spectr.top_k", "4"), "the number of experts, 3, found 4"),
        (("--router", "lag", "--lag.temperature", "0"), "temperature must be above 0, found 0"),
        (("--router", "single"), "the name of an expert: pass expert=name"),
        (("--router", "single", "--single.expert", "price"), "no expert 'price': did you mean 'prices'"),
        (
            ("--router", "spectr", "--spectr.topk", "2"),
            "unknown option 'spectr.topk': did you mean 'spectr.top_k'",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(lorary, trained_library, words, message):
    code, _, errors = lorary("generate", trained_library, PROMPT, *words)
    assert code == 2
    assert message in errors


def test_the_tokens_shown_go_the_way_decided_for_the_prompt(lorary, trained_library, tiny_base):
    words = ("--router", "calibrated", *CHOICES["calibrated"][1], "--show-experts", "--json")
    code, output, _ = lorary("generate", trained_library, PROMPT, *SHORT, *words)
    found = json.loads(output)
    model = load_model(load_base(tiny_base), trained_library, router="calibrated", **CHOICES["calibrated"][0])
    expected = model.explain(PROMPT)
    assert code == 0
    assert len(found["tokens"]) > len(expected.tokens)
    shares = dict(zip(expected.experts, expected.weights[0, 0].tolist(), strict=True))
    assert all(token["experts"] == pytest.approx(shares) for token in found["tokens"])


def test_an_evaluation_decides_once_per_request(lorary, trained_library):
    words = ("--tasks", "generated:plurals", "--evaluation.num_examples", "3", "--json", "--metrics")
    code, output, _ = lorary(
        "eval", trained_library, *words, "loss,exact_match", "--routes", "base,calibrated"
    )
    assert code == 0
    assert set(json.loads(output)["loss"]["mean"]) == {"base", "calibrated"}


@pytest.mark.parametrize("command", ["generate", "build"])
def test_help_names_the_routers_and_the_default_of_the_table(lorary, command):
    said = " ".join(lorary(command, "--help-all")[1].split())
    assert describe_by_uses(ROUTERS, list_ready_routers()) in said
    assert f"if not given: {DEFAULT_ROUTER}, or {ENCODER_ROUTER} if the base model has an encoder" in said


def test_help_of_eval_names_every_router(lorary):
    said = lorary("eval", "--help-all")[1]
    assert [name for name in ROUTERS if name not in said] == []
