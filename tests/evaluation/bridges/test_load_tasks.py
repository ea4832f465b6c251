import ast
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import lm_eval
import pytest

from lorary.errors import DataError
from lorary.evaluation import EvalConfig, Route
from lorary.evaluation.bridges import HarnessConfig, load_benchmarks, measure_harness, task_index
from lorary.evaluation.bridges.task_index import HARNESS_TASKS, index_tasks, list_benchmarks
from tests.benchmark_rows import make_rows

EASY = "arc/ARC-Easy.validation"
GOOD = {
    "id": "1",
    "question": "Is it?",
    "choices": {"text": ["yes", "no"], "label": ["A", "B"]},
    "answerKey": "A",
}


def write(*rows):
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def test_every_task_file_names_a_task_or_a_group_of_the_harness():
    known = index_tasks()
    assert set(list_benchmarks()) <= set(known)
    assert len(known["mmlu"].leaves) == 57 and len(known["bbh"].leaves) == 27
    assert {known[leaf].config["dataset_path"] for leaf in known["mmlu"].leaves} == {"json"}
    assert known["mmlu_stem"].leaves == tuple(sorted(known["mmlu_stem"].leaves))


def test_functions_of_the_harness_are_found_if_its_package_is_behind_a_link(tmp_path, monkeypatch):
    """Packages of a linked environment: paths of functions were kept as texts, which no task can use."""
    package = Path(lm_eval.__file__).parent
    (tmp_path / "lm_eval").symlink_to(package)
    monkeypatch.setattr(lm_eval, "__file__", str(tmp_path / "lm_eval" / "__init__.py"))
    spec = importlib.util.spec_from_file_location("linked_index", task_index.__file__)
    linked = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "linked_index", linked)
    spec.loader.exec_module(linked)
    config = linked.resolve_functions(dict(linked.index_tasks()["winogrande"].config))
    assert callable(config["doc_to_choice"])


def test_all_faults_of_names_files_and_permission_are_told_at_once(write_data):
    data = write_data(**{"piqa/validation": None})
    with pytest.raises(DataError) as caught:
        load_benchmarks(["arc_eazy", "zzzzzzzz", "piqa", "boolq", "boolq", "humaneval", "mbpp"], data)
    text = str(caught.value)
    assert "no task is called 'arc_eazy': did you mean 'arc_easy'" in text
    assert "no task is called 'zzzzzzzz': known are arc_challenge, arc_easy, bbh" in text
    assert "tasks must be named once, found 'boolq' twice" in text
    assert "'humaneval', 'mbpp': the programs that the model writes are executed" in text
    assert re.search(
        r"must have 'piqa/validation\.jsonl' or 'piqa/validation\.jsonl\.xz', found neither", text
    )


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DataError, match=r"--data must be a folder, found '.*nowhere'"):
        load_benchmarks(["piqa"], tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (write(GOOD, b"{not json\n"), r"line 2: not valid JSON"),
        (write(GOOD, b"7\n"), r"line 2: a row must be a JSON object with fields, not 7"),
        (
            write(GOOD, {"id": "2"}),
            r"line 2: a row must have the fields \['answerKey', 'choices', 'id', 'question'\] of the first",
        ),
        (write(GOOD, b"a\xffb\n"), r"line 2 must be UTF-8 text, but has byte 0xff"),
        (b"", r"is empty"),
        (write(GOOD, GOOD, {**GOOD, "question": 7}, GOOD), r"line 3: values must have the same types"),
        (write(GOOD, {**GOOD, "question": "\ud800"}), r"line 2: values must .* be Unicode text"),
        (
            write({**GOOD, "choices": {"text": ["", ""], "label": ["A", "B"]}}),
            r"line 1: no prompt can be made from the row \(IndexError",
        ),
        (write(GOOD, *[b"7\n"] * 7), r"line 2: .*line 6: a row must .*, and 2 others"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(write_data, content, fault):
    with pytest.raises(DataError, match=fault) as caught:
        load_benchmarks(["arc_easy"], write_data(**{EASY: content}))
    assert "ARC-Easy.validation.jsonl.xz" in str(caught.value)


def test_rows_of_which_no_prompt_can_be_made_are_refused_with_file_and_line(write_data, model):
    data = write_data(**{EASY: write(GOOD, {**GOOD, "answerKey": "E"}, GOOD, {**GOOD, "answerKey": "F"})})
    benchmarks, _ = load_benchmarks(["arc_easy"], data)
    with pytest.raises(DataError) as caught:
        measure_harness(model, benchmarks, [Route(name="base")], EvalConfig(num_examples=None))
    first, second = str(caught.value).splitlines()
    assert "line 2: no prompt can be made from the row (ValueError" in first and "line 4" in second


@pytest.mark.parametrize(
    ("name", "file", "change", "fault"),
    [
        ("piqa", "piqa/validation", {"label": -1}, "must be one of the 2 choices, .*, found -1"),
        ("boolq", "boolq/validation", {"label": 7}, "must be one of the 2 choices, .*, found 7"),
        (
            "commonsense_qa",
            "commonsense_qa/validation",
            {"answerKey": "Z"},
            "of the 5 choices, .*, found 'Z'",
        ),
        ("humaneval", "humaneval/test", {"test": None}, "HumanEval must have test as str"),
    ],
)
def test_rows_that_could_only_be_graded_as_wrong_are_refused(write_data, model, name, file, change, fault):
    """The label -1 of a test split gave an accuracy of 0, and a program without tests an error at the end."""
    rows = make_rows()[file]
    data = write_data(**{file: [rows[0], {**rows[1], **change}]})
    benchmarks, _ = load_benchmarks([name], data, allow_code=True)
    with pytest.raises(DataError, match=f"line 2: .*{fault}"):
        measure_harness(model, benchmarks, [Route(name="base")], EvalConfig(num_examples=None))


def test_the_row_that_a_function_of_the_harness_cannot_use_is_told(write_data):
    rows = make_rows()["hellaswag/validation"]
    data = write_data(**{"hellaswag/validation": [*rows[:2], {**rows[2], "label": "x"}, rows[3]]})
    with pytest.raises(DataError, match=r"hellaswag/validation.*line 3: no prompt can be made"):
        load_benchmarks(["hellaswag"], data)


def test_more_examples_before_the_question_than_there_are_is_refused(data, caplog):
    with pytest.raises(DataError, match="'arc_easy' must have 9 examples to put before a question, found 4"):
        load_benchmarks(["arc_easy"], data, HarnessConfig(num_fewshot=9))
    assert not caplog.records


def test_a_metric_that_lorary_has_too_keeps_the_name_of_the_harness(data, model):
    """Exact match of the harness was shown under the title of lorary's own, without the chat template."""
    benchmarks, _ = load_benchmarks(["bbh_fewshot_navigate"], data)
    found = measure_harness(
        model, benchmarks, [Route(name="base")], harness=HarnessConfig(max_new_tokens=2)
    ).result
    assert found.metrics == ("exact_match.none",)
    assert "chat template off" in found.metric_of["exact_match.none"].title


def test_documents_of_a_group_and_its_member_are_counted(data, model):
    benchmarks, _ = load_benchmarks(["bbh_fewshot_navigate", "bbh_zeroshot_navigate", "piqa"], data)
    both = [replace(benchmarks[0], name="group"), *benchmarks]
    few = EvalConfig(num_examples=3), HarnessConfig(max_new_tokens=2)
    found = measure_harness(model, both, [Route(name="base")], *few).result
    assert found.headers[0]["settings"]["shared"] == 3


def test_a_tokenizer_without_an_end_is_told(data, model):
    model.tokenizer.eos_token = None
    with pytest.raises(DataError, match="'tiny-0' must have an end-of-text token, found none: add eos_token"):
        measure_harness(model, load_benchmarks(["piqa"], data)[0], [Route(name="base")])


def test_a_subject_without_rows_is_refused(data):
    with pytest.raises(DataError, match="must have rows whose field 'subject' is 'virology'"):
        load_benchmarks(["mmlu_virology"], data)


def test_answers_that_leave_no_room_are_refused(model, data):
    benchmarks, _ = load_benchmarks(["bbh_cot_fewshot_navigate"], data)
    with pytest.raises(DataError, match="generates up to 1,024 tokens, but the model reads 512: lower"):
        measure_harness(model, benchmarks, [Route(name="base")])


@pytest.mark.parametrize(
    ("name", "value"), [("num_fewshot", -1), ("max_length", 1), ("max_new_tokens", 0), ("num_fewshot", True)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least"):
        HarnessConfig(**{name: value})


def test_the_examples_of_mbpp_are_those_of_the_harness(write_data):
    """The harness has them in a module that asks the network when it is imported."""
    tree = ast.parse((HARNESS_TASKS / "mbpp/utils.py").read_text())
    (listed,) = [node for node in tree.body if getattr(node, "name", "") == "list_fewshot_samples"]
    samples = ast.literal_eval(listed.body[0].value)
    rows = [
        {**{key: row[key] for key in ("text", "code", "task_id", "test_list")}, "test_setup_code": ""}
        for row in samples
    ]
    others = [{**rows[0], "task_id": number} for number in (1, 5)]
    data = write_data(**{"mbpp/prompt": [others[0], *rows, others[1]]})
    (mbpp,), _ = load_benchmarks(["mbpp"], data, allow_code=True)
    (task,) = mbpp.tasks
    task.set_fewshot_seed(1)
    context = task.fewshot_context(task.task_docs[0], num_fewshot=3)
    expected = "\n\n".join(task.doc_to_text(row) + f"{row['code']}\n[DONE]" for row in samples)
    assert context == f"{expected}\n\n{task.doc_to_text(task.task_docs[0])}"


def test_a_missing_chat_template_is_told(model, data):
    model.tokenizer.chat_template = None
    benchmarks, _ = load_benchmarks(["piqa"], data)
    with pytest.raises(DataError, match="'tiny-0' has no chat template: use --template plain"):
        measure_harness(model, benchmarks, [Route(name="base")], has_chat_template=True)
