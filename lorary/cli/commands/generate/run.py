"""Load a routed model, answer the prompt, and show the routing."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

from jsonargparse import Namespace

from lorary.assembly import Explanation, RoutedModel
from lorary.cli.base_model import read_device
from lorary.cli.commands.generate.answering import (
    answer_prompts,
    check_log,
    explain_answer,
    log_answer,
    split_batches,
)
from lorary.cli.commands.generate.few_shot import read_shots
from lorary.cli.commands.generate.load import list_answering, load_routed
from lorary.cli.commands.generate.prompt import PromptTemplate, choose_template, dress_prompt, read_prompt
from lorary.cli.commands.generate.prompt_file import GivenPrompt, read_prompts
from lorary.cli.commands.generate.routing_text import print_routing
from lorary.cli.console import print_next
from lorary.cli.default_router import name_router
from lorary.cli.faults import Faults
from lorary.cli.printing import print_answer, print_json, print_json_line, print_line
from lorary.cli.repeat import repeat_command
from lorary.cli.skill_options import check_skill_options, is_for_task
from lorary.data import Task
from lorary.files import quote
from lorary.models.positions import check_length, count_needed
from lorary.routing import router_named

STDIN = "-"
EMPTY = "note: the answer is empty; the model ended at once"


def run(options: Namespace) -> int:
    """Check the options, load the model, answer, and show the routing if asked for."""
    check(options)
    prompts = read_given_prompts(options)
    shots = read_shots(options)
    model = load_routed(options)
    template = choose_template(options, list_answering(options))
    if template.reason is not None:
        print_line(f"note: {template.reason}", stderr=True)
    if options.router is None and model.routing[0] is not None:
        print_line(f"note: routed by {name_router(model.routing[0])}", stderr=True)
    records = answer_all(model, prompts, template, shots, options)
    if options.prompts is not None:
        for record, _, _ in records:
            print_json_line(record)
        return 0
    ((record, prompt_ids, explanation),) = records
    if options.json:
        print_json(record)
        return 0
    print_answer(record["answer"].strip("\n"))
    if not record["answer"].strip():
        print_line(f"{EMPTY} (--template {template.name})", stderr=True)
    if explanation is not None:
        print_routing(explanation, num_prompt_tokens=len(prompt_ids))
    elif model.routing[0] is not None:
        print_next("lorary", "generate", *repeat_command(options, "--show-experts"))
    return 0


def read_given_prompts(options: Namespace) -> list[GivenPrompt]:
    """Read the prompt of the command line or stdin, or those of ``--prompts``.

    Raises:
        ValueError: if the prompt is empty.
        DataError: if the file of prompts cannot be read.
    """
    if options.prompts is not None:
        return read_prompts(options.prompts)
    prompt = read_prompt() if options.prompt == STDIN else options.prompt
    if not prompt:
        raise ValueError("the prompt is empty: enter some text")
    return [GivenPrompt(prompt, "")]


def answer_all(
    model: RoutedModel,
    prompts: Sequence[GivenPrompt],
    template: PromptTemplate,
    shots: Task | None,
    options: Namespace,
) -> Iterator[tuple[dict[str, Any], list[int], Explanation | None]]:
    """Answer prompts in batches, and log each answer as soon as it is known.

    Yields:
        An answer's description, the prompt's tokens, and the routing if it is asked for.

    Raises:
        BaseModelError: if the base model has too few positions for a prompt and its answer, before the first
            answer.
    """
    router = model.routing[0] or (None if options.expert or is_for_task(options) else "none")
    dressed = [dress_prompt(model, prompt.text, template, shots) for prompt in prompts]
    for prompt, ids in zip(prompts, dressed, strict=True):
        if prompt.place:
            length = count_needed(model.model, len(ids), options.max_new_tokens)
            check_length(model.model, length, f"{prompt.place}: the prompt with its answer")
    for batch in split_batches(len(prompts), options.batch_size):
        answers = answer_prompts(model, [dressed[place] for place in batch], options, batch.start)
        for place, answer in zip(batch, answers, strict=True):
            explanation = explain_answer(model, dressed[place], answer) if options.show_experts else None
            record = describe_answer(
                prompts[place].text, template.name, answer, router, options.expert, explanation
            )
            record.update({"task": options.task} if is_for_task(options) else {})
            if options.log is not None:
                log_answer(options.log, record)
            yield record, dressed[place], explanation


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    faults = Faults()
    if options.router not in (None, "none"):
        faults.keep(lambda: router_named(options.router))
    if options.template in ("none", "plain"):
        faults.keep(lambda: choose_template(options, []))
    faults.keep(lambda: check_skill_options(options))
    faults.keep(lambda: check_log(options.log))
    faults.keep(lambda: read_device(options))
    if (options.prompt is None) == (options.prompts is None):
        faults.add("give a prompt, or a file of prompts with --prompts, and not both")
    if options.show_experts and (options.router == "none" or options.expert is not None):
        faults.add("--show-experts shows the choices of a router: leave out --expert and --router none")
    if options.include and options.expert is not None:
        faults.add("--include chooses the experts of a router: leave out --include or --expert")
    if options.max_new_tokens < 1 or not 0 <= options.temperature < inf:
        faults.add(
            "--max-new-tokens must be at least 1 and --temperature at least 0, "
            f"found {quote(options.max_new_tokens)} and {quote(options.temperature)}"
        )
    if not 0 < options.top_p <= 1 or options.top_k < 0 or options.batch_size < 1:
        faults.add(
            "--top-p must be above 0 and at most 1, --top-k at least 0 and --batch-size at least 1, "
            f"found {quote(options.top_p)}, {quote(options.top_k)} and {quote(options.batch_size)}"
        )
    if options.temperature == 0 and (options.top_p < 1 or options.top_k > 0):
        faults.add("--top-p and --top-k choose among sampled tokens: add --temperature, such as 1")
    faults.raise_all()


def describe_answer(
    prompt: str,
    template: str,
    answer: str,
    router: str | None,
    expert: str | None,
    explanation: Explanation | None,
) -> dict[str, Any]:
    """Describe an answer, and its routing unless it is None, in JSON values."""
    found: dict[str, Any] = {
        "prompt": prompt,
        "template": template,
        "answer": answer,
        "router": router,
        "expert": expert,
    }
    if explanation is not None:
        shares = explanation.shares_per_token()
        found["experts"] = dict(zip(explanation.experts, shares.mean(0).tolist(), strict=True))
        found["tokens"] = [
            {"text": text, "experts": dict(zip(explanation.experts, row, strict=True))}
            for text, row in zip(explanation.tokens, shares.tolist(), strict=True)
        ]
    return found
