"""lorary's numbers are those of the harness's own model class, document by document."""

import copy

import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from lorary.assembly import load_model
from lorary.evaluation import EvalConfig, Route
from lorary.evaluation.bridges import HarnessConfig, load_benchmarks, measure_harness
from lorary.evaluation.bridges.documents import FEWSHOT_SEED, identify_document
from lorary.models import fold, wrap_base
from tests.architectures import tiny_config
from tests.encoder_decoders import build_base

NAMES = (
    *("arc_easy", "arc_challenge", "openbookqa", "piqa", "hellaswag", "winogrande", "boolq"),
    *("commonsense_qa", "social_iqa", "mmlu_anatomy", "bbh_cot_fewshot_navigate", "gsm8k", "wikitext"),
)
BASE = Route(name="base")
NO_WARNING = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def run_hflm(base, data, names, *, has_chat_template, config=None, **told):
    """What the harness says of each document: (task, id) -> metrics and responses."""
    benchmarks, _ = load_benchmarks(names, data, config)
    tasks = {task.task_name: task for each in benchmarks for task in each.tasks}
    for task in tasks.values():
        task.set_fewshot_seed(FEWSHOT_SEED)
        if task.OUTPUT_TYPE == "generate_until":
            task.config.generation_kwargs["max_gen_toks"] = 12
    lm = HFLM(pretrained=base.model, tokenizer=base.tokenizer, device="cpu", batch_size=3, **told)
    found = evaluate(
        lm=lm,
        task_dict={"tasks": tasks},
        bootstrap_iters=0,
        apply_chat_template=has_chat_template,
        fewshot_as_multiturn=has_chat_template,
    )
    return found, {
        (task, identify_document(task, sample["doc"]), sample["filter"]): sample
        for task, samples in found["samples"].items()
        for sample in samples
    }


def list_texts(arguments):
    return [[part for part in each if isinstance(part, str)] for each in arguments]


def check_equal(outcome, route, found, samples):
    totals = outcome.result.attachments["harness"][route]
    seen = set()
    for grade in outcome.grades[route]:
        task = grade.document.task.task_name
        for name, answers in grade.answers.items():
            sample = samples[task, identify_document(task, grade.document.doc), name]
            seen.add((task, sample["doc_hash"], name))
            # Settings of generation differ by the limit that this test sets.
            asked = [request.args for request in grade.document.requests]
            assert list_texts(asked) == list_texts(sample["arguments"])
            if isinstance(answers[0], tuple):
                torch.testing.assert_close(
                    torch.tensor([each[0] for each in answers]),
                    torch.tensor([each[0] for each in sample["filtered_resps"]]),
                    atol=2e-3,
                    rtol=1e-4,
                )
                assert [each[1] for each in answers] == [each[1] for each in sample["filtered_resps"]]
            elif not isinstance(answers[0], float):
                assert answers == sample["filtered_resps"]
            for metric in sample["metrics"]:
                suffix = "" if name == "none" else f",{name}"
                value = grade.values[f"{metric}{suffix}"]
                assert value == pytest.approx(sample[metric], rel=1e-4)
    assert len(seen) == len(samples)
    for task, own in totals.items():
        for metric, value in own.items():
            name = metric if "," in metric else f"{metric},none"
            assert value == pytest.approx(found["results"][task][name], rel=1e-3)


@NO_WARNING
@pytest.mark.parametrize("has_chat_template", [False, True], ids=["template off", "template on"])
def test_numbers_are_those_of_the_harness_itself(model, build_tiny_base, base, data, has_chat_template):
    plain = build_tiny_base()
    plain.tokenizer.chat_template = base.tokenizer.chat_template
    found, samples = run_hflm(plain, data, NAMES, has_chat_template=has_chat_template)
    benchmarks, _ = load_benchmarks(NAMES, data)
    outcome = measure_harness(
        model,
        benchmarks,
        [BASE],
        EvalConfig(num_examples=None, tokens_per_pass=700),
        HarnessConfig(max_new_tokens=12),
        has_chat_template=has_chat_template,
    )
    check_equal(outcome, "base", found, samples)
    on = "on" if has_chat_template else "off"
    assert outcome.result.headers[0]["settings"]["chat template"] == on
    assert {metric.title.rpartition(", ")[2] for metric in outcome.result.metric_of.values()} == {
        f"chat template {on}"
    }


@NO_WARNING
@pytest.mark.parametrize(
    ("names", "shots", "cut"),
    [
        (("arc_easy", "winogrande", "gsm8k"), 2, {"arc_easy": 16, "winogrande": 8, "gsm8k": 4}),
        (("wikitext", "piqa"), None, {"piqa": 8}),
    ],
)
def test_an_expert_has_the_numbers_of_the_folded_model_also_when_contexts_are_cut(
    model, build_tiny_base, draw_expert, data, names, shots, cut
):
    config = HarnessConfig(num_fewshot=shots, max_length=60, max_new_tokens=12)
    plain = build_tiny_base()
    folded = wrap_base(fold(plain.model, draw_expert(plain, "two")), plain.tokenizer)
    found, samples = run_hflm(folded, data, names, has_chat_template=False, config=config, max_length=60)
    benchmarks, _ = load_benchmarks(names, data, config)
    route = Route(name="two", expert_of=dict.fromkeys(names, "two"))
    outcome = measure_harness(model, benchmarks, [route], EvalConfig(num_examples=None), config)
    check_equal(outcome, "two", found, samples)
    assert outcome.result.headers[0]["settings"]["cut"] == cut


@NO_WARNING
def test_likelihoods_of_an_encoder_and_a_decoder_are_those_of_the_harness(draw_expert, data):
    names = ("piqa", "arc_easy", "wikitext")
    found, samples = run_hflm(build_base("t5"), data, names, has_chat_template=False, max_length=200)
    base = build_base("t5")
    experts = {"one": draw_expert(base, "one", task_type="SEQ_2_SEQ_LM")}
    model = load_model(base, experts, router=None)
    benchmarks, _ = load_benchmarks(names, data)
    config = HarnessConfig(max_length=200)
    outcome = measure_harness(model, benchmarks, [BASE], EvalConfig(num_examples=None), config)
    check_equal(outcome, "base", found, samples)


def build_kind(kind, plain):
    """Build a random model of another architecture; Gemma's tokenizer begins each text with a token."""
    config = tiny_config(kind)
    tokenizer = copy.deepcopy(plain.tokenizer)
    if kind == "gemma":
        tokenizer.add_special_tokens({"bos_token": "<bos>"})
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    config.vocab_size, config.max_position_embeddings = len(tokenizer), 512
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    torch.manual_seed(0)
    return wrap_base(AutoModelForCausalLM.from_config(config).eval(), tokenizer, name=f"tiny-{kind}")


@NO_WARNING
@pytest.mark.parametrize("kind", ["gpt2", "phi", "qwen2", "gemma"])
def test_an_expert_of_another_architecture_has_the_numbers_of_the_folded_model(
    kind, build_tiny_base, draw_expert, data
):
    names = ("winogrande", "gsm8k", "wikitext")
    plain = build_tiny_base()
    base = build_kind(kind, plain)
    expert = draw_expert(base, "two")
    folded = build_kind(kind, plain)
    folded = wrap_base(fold(folded.model, expert), folded.tokenizer)
    found, samples = run_hflm(folded, data, names, has_chat_template=False)
    benchmarks, _ = load_benchmarks(names, data)
    route = Route(name="two", expert_of=dict.fromkeys(names, "two"))
    model = load_model(base, {"two": expert}, router=None)
    config = HarnessConfig(max_new_tokens=12)
    outcome = measure_harness(model, benchmarks, [route], EvalConfig(num_examples=None), config)
    check_equal(outcome, "two", found, samples)
