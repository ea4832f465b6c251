"""Load a routed model, answer the prompt, and show the routing."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from math import inf
from typing import Any

from jsonargparse import Namespace

from lorary.assembly import Explanation, RoutedModel, load_model
from lorary.assembly.saved_model import is_saved_model, read_saved_model
from lorary.cli.base_model import load_options_base, read_device
from lorary.cli.commands.generate.routing_text import print_routing
from lorary.cli.console import print_next, show_status
from lorary.cli.filled_library import open_filled_library
from lorary.cli.printing import print_answer, print_json, print_line
from lorary.cli.repeat import repeat_command
from lorary.cli.router_configs import read_router_options, refuse_unused_options
from lorary.cli.template_options import read_template_args
from lorary.data import Example, Task, find_template
from lorary.data.encoding import encode_answers, encode_prompt, encode_texts
from lorary.errors import UnknownExpert
from lorary.files import quote
from lorary.routing import DEFAULT_ROUTER, router_named

STDIN = "-"
# In characters: more than any base model's context, and less than would fill the memory.
MAX_PROMPT = 10_000_000
EMPTY = (
    "note: the answer is empty, the model ended at once; experts answer best to the --template that they "
    "were trained with"
)


def run(options: Namespace) -> int:
    """Check the options, load the model, answer, and show the routing if asked for."""
    check_generation(options)
    prompt = read_prompt() if options.prompt == STDIN else options.prompt
    if not prompt:
        raise ValueError("the prompt is empty: give some text")
    model = load_routed(options)
    prompt_ids = dress_prompt(model, prompt, options.template, read_template_args(options.template_args))
    answer = answer_prompt(model, prompt_ids, options)
    explanation = None
    if options.show_experts:
        (answer_ids,) = encode_answers(model.tokenizer, [answer])
        explanation = model.explain([*prompt_ids, *answer_ids], num_prompt_tokens=len(prompt_ids))
    if options.json:
        router = model.routing[0] or (None if options.expert else "none")
        print_json(describe_answer(prompt, answer, router, options.expert, explanation))
        return 0
    print_answer(answer.strip("\n"))
    if not answer.strip():
        print_line(EMPTY, stderr=True)
    if explanation is not None:
        print_routing(explanation, num_prompt_tokens=len(prompt_ids))
    elif model.routing[0] is not None:
        print_next("lorary", "generate", *repeat_command(options, "--show-experts"))
    return 0


def read_prompt() -> str:
    """Read the prompt from stdin.

    Raises:
        ValueError: if it is longer than ``MAX_PROMPT``, or not UTF-8.
    """
    try:
        prompt = sys.stdin.read(MAX_PROMPT + 1)
        prompt.encode()
    except UnicodeError as error:
        raise ValueError(f"the prompt on stdin must be UTF-8 text ({error}): convert it") from error
    if len(prompt) > MAX_PROMPT:
        raise ValueError(f"the prompt on stdin must have at most {MAX_PROMPT:,} characters: shorten it")
    return prompt.rstrip("\n")


def check_generation(options: Namespace) -> None:
    """Refuse invalid options before anything is loaded.

    Raises:
        ValueError: with the option.
    """
    if options.router not in (None, "none"):
        router_named(options.router)
    if options.show_experts and (options.router == "none" or options.expert is not None):
        raise ValueError("--show-experts shows the choices of a router: leave out --expert and --router none")
    if options.template != "chat" and read_template_args(options.template_args):
        raise ValueError("--template-args are the chat template's: use --template chat, or leave them out")
    if options.max_new_tokens < 1 or not 0 <= options.temperature < inf:
        raise ValueError(
            "--max-new-tokens must be at least 1 and --temperature at least 0, "
            f"found {quote(options.max_new_tokens)} and {quote(options.temperature)}"
        )


def load_routed(options: Namespace) -> RoutedModel:
    """Load a built model, or the base model with the experts of a library.

    Raises:
        ValueError: if an option is invalid, or belongs to a router that is not used.
        LibraryError: if the library is empty.
        UnknownExpert: if the library has no expert of the name in ``--expert``.
    """
    is_built = is_saved_model(options.library)
    router = options.router or (None if is_built or options.expert is not None else DEFAULT_ROUTER)
    refuse_unused_options(options, [router] if router and options.expert is None else [])
    if is_built:
        return load_built(options)
    library = open_filled_library(options.library)
    if options.expert is not None:
        if options.expert not in library:
            raise UnknownExpert(options.expert, library, f"library {quote(options.library)}")
        base = load_options_base(options, library)
        chosen = {options.expert: library[options.expert]}
        return load_model(base, chosen, router=None, trust_base=options.trust_base)
    if options.router == "none":
        base = load_options_base(options, library)
        return load_model(base, library, router=None, trust_base=options.trust_base)
    assert router is not None
    config = read_router_options(options, router, list(library))
    base = load_options_base(options, library)
    return load_model(
        base,
        library,
        router=router,
        combine=options.combine,
        trust_base=options.trust_base,
        **asdict(config),
    )


def load_built(options: Namespace) -> RoutedModel:
    """Load a model of ``lorary build``, with its own router or with that of the options.

    Raises:
        ValueError: if a base model is given: a built model has its own.
        UnknownExpert: if the model has no expert of the name in ``--expert``.
    """
    if options.base is not None or options.revision is not None or options.trust_base:
        raise ValueError(
            "a built model has its own base model: leave out --base, --revision and --trust-base"
        )
    names = list(read_saved_model(options.library).experts)
    if options.expert is not None and options.expert not in names:
        raise UnknownExpert(options.expert, names, f"model {quote(options.library)}")
    router: Any = None if options.expert is not None or options.router == "none" else options.router or ...
    given: dict[str, Any] = {}
    if isinstance(router, str):
        given = asdict(read_router_options(options, router, names))
    device = read_device(options)
    with show_status(f"loading {options.library}"):
        return load_model(options.library, router=router, combine=options.combine, device=device, **given)


def dress_prompt(
    model: RoutedModel, prompt: str, template: str, template_args: Mapping[str, Any]
) -> list[int]:
    """Render a prompt with the template, and tokenise it."""
    if template == "none":
        return encode_prompt(model.tokenizer, prompt)
    found = find_template(template, template_args=template_args)
    example = Example(prompt, ("unknown",))
    text = found.render(Task("prompt", {"test": (example,)}), example, model.tokenizer)
    if found.holds_special_tokens:
        return encode_texts(model.tokenizer, [text])[0]
    return encode_prompt(model.tokenizer, text)


def answer_prompt(model: RoutedModel, prompt_ids: Sequence[int], options: Namespace) -> str:
    """Generate the continuation of a prompt."""
    chosen = nullcontext() if options.expert is None else model.assign([options.expert])
    with chosen:
        return model.generate(
            [prompt_ids], max_new_tokens=options.max_new_tokens, temperature=options.temperature
        )[0]


def describe_answer(
    prompt: str, answer: str, router: str | None, expert: str | None, explanation: Explanation | None
) -> dict[str, Any]:
    """Describe an answer, and its routing unless it is None, in JSON values."""
    found: dict[str, Any] = {
        "prompt": prompt,
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
