"""Answer a prompt with a library's experts, or with a model that was built from one.

Calibrated routing decides once, from the prompt; Arrow and others route token by token. A built model brings
its router. --expert lets one expert answer alone, --router none the base.
"""

import sys
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.cli import model_options
from lorary.cli.printing import print_answer, print_json, print_next, show_status
from lorary.errors import UnknownExpert
from lorary.files import quote

if TYPE_CHECKING:
    from lorary.assembly import Explanation, RoutedModel

EXAMPLE = "lorary generate ./my-loras 'Write the number in words: 42' --template plain --show-experts"
STDIN = "-"
# Characters: more than any base model reads, too few to fill the memory.
MAX_PROMPT = 10_000_000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the prompt, who answers and how."""
    parser.add_argument("library", help="Folder or URL of the library, or folder of a built model")
    parser.add_argument("prompt", help="What to go on from; '-' reads it from stdin")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"{', '.join(model_options.list_ready_routers())}, or none for the base alone; calibrated, "
        "or a built model's own, if not given",
    )
    parser.add_argument("--expert", type=str | None, help="Let this expert answer, whatever the router")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="Most tokens of the answer")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 always takes the likeliest token; above, samples"
    )
    parser.add_argument(
        "--template",
        type=Literal["none", "plain", "chat"],
        default="none",
        help="What to put around the prompt: nothing, 'Answer:' as in training, or the model's chat turns",
    )
    parser.add_argument("--show-experts", action="store_true", help="Show which experts the tokens used")
    model_options.add_base_options(parser)
    model_options.add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of the answer alone")


def run(options: Namespace) -> int:
    """Load what is needed, answer, and show how."""
    check_generation(options)
    prompt = read_prompt() if options.prompt == STDIN else options.prompt
    if not prompt:
        raise ValueError("the prompt is empty: give some text to go on from")
    model = load_routed(options)
    prompt_ids = encode_prompt(model, prompt, options.template)
    answer = answer_prompt(model, prompt_ids, options)
    explanation = None
    if options.show_experts:
        answer_ids = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        explanation = model.explain([*prompt_ids, *answer_ids], num_prompt_tokens=len(prompt_ids))
    if options.json:
        router = model.routing[0] or (None if options.expert else "none")
        print_json(describe_answer(prompt, answer, router, options.expert, explanation))
        return 0
    print_answer(answer.strip("\n"))
    if explanation is not None:
        from lorary.cli.commands.generate.routing_text import print_routing

        print_routing(explanation, num_prompt_tokens=len(prompt_ids))
    elif model.routing[0] is not None:
        words = [prompt if options.prompt != STDIN else STDIN, "--template", options.template]
        print_next("lorary", "generate", options.library, *words, "--show-experts")
    return 0


def read_prompt() -> str:
    """Read the prompt from stdin.

    Raises:
        ValueError: if it is longer than any model reads, or no text.
    """
    try:
        prompt = sys.stdin.read(MAX_PROMPT + 1)
        prompt.encode()
    except UnicodeError as error:
        raise ValueError(f"the prompt on stdin must be UTF-8 text ({error}): convert it") from error
    if len(prompt) > MAX_PROMPT:
        raise ValueError(f"the prompt on stdin must have at most {MAX_PROMPT:,} characters: give less of it")
    return prompt.rstrip("\n")


def check_generation(options: Namespace) -> None:
    """Refuse what cannot be done before anything is loaded.

    Raises:
        ValueError: naming the option.
    """
    from lorary.routing import router_named

    if options.router not in (None, "none"):
        router_named(options.router)
    if options.show_experts and (options.router == "none" or options.expert is not None):
        raise ValueError("--show-experts shows what a router chose: leave out --expert and --router none")
    if options.max_new_tokens < 1 or not 0 <= options.temperature < inf:
        raise ValueError(
            "--max-new-tokens must be at least 1 and --temperature at least 0, "
            f"found {quote(options.max_new_tokens)} and {quote(options.temperature)}"
        )


def load_routed(options: Namespace) -> "RoutedModel":
    """Load the base model with those experts that may be needed.

    Raises:
        ValueError: if an option is wrong, or of a router that does not decide.
        LibraryError: if the library is empty.
        UnknownExpert: if the expert that was asked for is not in it.
    """
    from dataclasses import asdict

    from lorary.assembly import is_saved_model, load_model
    from lorary.routing import DEFAULT_ROUTER

    is_built = is_saved_model(options.library)
    router = options.router or (None if is_built or options.expert is not None else DEFAULT_ROUTER)
    model_options.refuse_unused_options(options, [router] if router and options.expert is None else [])
    if is_built:
        return load_built(options)
    library = model_options.open_filled_library(options.library)
    if options.expert is not None:
        if options.expert not in library:
            raise UnknownExpert(options.expert, library, f"library {quote(options.library)}")
        base = model_options.load_options_base(options, library)
        return load_model(base, {options.expert: library[options.expert]}, router=None)
    if options.router == "none":
        return load_model(model_options.load_options_base(options, library), library, router=None)
    assert router is not None
    config = model_options.read_router_options(options, router, list(library))
    base = model_options.load_options_base(options, library)
    return load_model(base, library, router=router, combine=options.combine, **asdict(config))


def load_built(options: Namespace) -> "RoutedModel":
    """Load a model that ``lorary build`` made: with its own router, or with what the options say instead.

    Raises:
        ValueError: if the base model is named, which the built model does itself.
        UnknownExpert: if the expert that was asked for is not in it.
    """
    from dataclasses import asdict

    from lorary.assembly import load_model
    from lorary.assembly.saved_model import read_saved_model

    if options.base is not None or options.revision is not None:
        raise ValueError("a built model brings its base model: leave out --base and --revision")
    names = list(read_saved_model(options.library).experts)
    if options.expert is not None and options.expert not in names:
        raise UnknownExpert(options.expert, names, f"model {quote(options.library)}")
    router: Any = None if options.expert is not None or options.router == "none" else options.router or ...
    given: dict[str, Any] = {}
    if isinstance(router, str):
        given = asdict(model_options.read_router_options(options, router, names))
    device = model_options.find_device(options)
    with show_status(f"loading {options.library}"):
        return load_model(options.library, router=router, combine=options.combine, device=device, **given)


def encode_prompt(model: "RoutedModel", prompt: str, template: str) -> list[int]:
    """Tokenise a prompt, with what the template puts around it."""
    from lorary.data import Example, Task, find_template

    if template == "none":
        return list(model.tokenizer(prompt)["input_ids"])
    found = find_template(template)
    example = Example(prompt, ("unknown",))
    text = found.render(Task("prompt", {"test": (example,)}), example, model.tokenizer)
    return list(model.tokenizer(text, add_special_tokens=not found.holds_special_tokens)["input_ids"])


def answer_prompt(model: "RoutedModel", prompt_ids: Sequence[int], options: Namespace) -> str:
    """Let the model go on from a prompt."""
    from contextlib import nullcontext

    chosen = nullcontext() if options.expert is None else model.assign([options.expert])
    with chosen:
        return model.generate(
            [prompt_ids], max_new_tokens=options.max_new_tokens, temperature=options.temperature
        )[0]


def describe_answer(
    prompt: str, answer: str, router: str | None, expert: str | None, explanation: "Explanation | None"
) -> dict[str, Any]:
    """Put an answer, and the routing if it was asked for, into JSON values."""
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
