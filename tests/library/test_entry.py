"""What a listing says of an expert, read from its two small files."""

import json

import pytest

from lorary.errors import FormatError
from lorary.experts import ExpertCard, write_expert_files
from lorary.library.entry import parse_entry


def test_a_sidecar_tells_all_about_an_expert(make_expert):
    expert = make_expert("poetry", tasks=("rhyme",))
    sidecar = write_expert_files(expert)["expert.json"]
    entry = parse_entry("poetry", "lib/poetry", sidecar, None)
    assert (entry.name, entry.base_model, entry.card) == ("poetry", "tiny", expert.card)
    assert (entry.num_parameters, entry.num_modules, entry.max_rank) == (expert.num_parameters, 2, 3)
    assert entry.dtype == "float32" and entry.weights_sha256 == json.loads(sidecar)["weights_sha256"]


def test_the_folders_name_is_the_experts_name(make_expert):
    sidecar = write_expert_files(make_expert("old"))["expert.json"]
    assert parse_entry("new", "lib/new", sidecar, None).name == "new"


def test_of_a_plain_adapter_only_what_peft_wrote_is_known():
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "phi-2",
        "revision": "main",
        "r": 4,
        "rank_pattern": {"q_proj": 16},
    }
    entry = parse_entry("a", "lib/a", None, json.dumps(config).encode())
    assert (entry.base_model, entry.max_rank) == ("phi-2", 16)
    assert entry.card == ExpertCard(base_revision="main", task_type=None)
    assert entry.num_parameters is entry.num_modules is entry.dtype is entry.weights_sha256 is None


def test_an_adapter_of_another_type_is_listed_without_a_rank():
    config = {"peft_type": "IA3", "base_model_name_or_path": "phi-2"}
    entry = parse_entry("a", "lib/a", None, json.dumps(config).encode())
    assert entry.base_model == "phi-2" and entry.max_rank is None


@pytest.mark.parametrize(
    ("task", "base", "tag", "expected"),
    [
        (None, None, None, True),
        ("rhyme", None, None, True),
        ("rhyme", "tiny", "fun", True),
        ("rhym", None, None, False),
        (None, "tin", None, False),
        (None, "org/Tiny", None, True),
        (None, "", None, False),
        ("rhyme", "tiny", "rhyme", False),
    ],
)
def test_a_filter_asks_for_all_that_it_names(make_expert, task, base, tag, expected):
    sidecar = write_expert_files(make_expert("a", tasks=("rhyme", "verse"), tags=("fun",)))["expert.json"]
    assert parse_entry("a", "lib/a", sidecar, None).matches(task, base, tag) is expected


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_small_file_that_is_not_a_json_object_is_refused_with_its_path(content):
    for sidecar, config, file in ((content, None, "expert.json"), (None, content, "adapter_config.json")):
        with pytest.raises(FormatError, match=f"'lib/a/{file}' must (be a JSON file|hold a JSON object)"):
            parse_entry("a", "lib/a", sidecar, config)


@pytest.mark.parametrize("task_type", ["SEQ_2_SEQ_LM", None, "CAUSAL_LM"])
def test_a_sidecar_tells_the_task_type_of_the_base_model(make_expert, task_type):
    """Guards listings in which every expert was for a causal model."""
    expert = make_expert("poetry", task_type=task_type)
    sidecar = write_expert_files(expert)["expert.json"]
    assert parse_entry("poetry", "lib/poetry", sidecar, None).card.task_type == task_type
    assert ("task_type" in json.loads(sidecar)) == (task_type != "CAUSAL_LM")
