"""Answer a prompt with a library's experts, or with a built model.

A router chooses the experts, once per prompt or for every token. A built model has
its own router. --expert uses one expert alone, and --router none the base model alone.
--task uses the library's skills, with the task's weights. --prompts answers
the prompts of a file in batches.
"""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.router_options import add_router_options, describe_routers
from lorary.cli.skill_options import add_skill_options
from lorary.cli.template_options import add_template_args
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER

EXAMPLE = "lorary generate ./my-loras 'Write the number in words: 42' --show-experts"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the prompt, the router or expert, and the settings of generation."""
    parser.add_argument("library", help="Folder or URL of the library, or folder of a built model")
    parser.add_argument("prompt", help="The prompt; '-' reads it from stdin")
    parser.add_argument(
        "--prompts",
        type=Path | None,
        metavar="FILE",
        help="Answer the prompts of a file: one per line, or rows of JSON or a table with a "
        "column prompt; prints a line of JSON per answer",
    )
    parser.add_argument(
        "--log", type=Path | None, metavar="FILE", help="Append each answer to this file as a line of JSON"
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, help="Number of prompts per batch, with --prompts"
    )
    parser.add_argument(
        "--few-shot",
        type=str | None,
        metavar="PLACE",
        help="Task file, or synthetic:NAME; its examples are put before the prompt, with their answers",
    )
    parser.add_argument("--shots", type=int, default=4, help="Number of examples, with --few-shot")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"Router: {describe_routers(with_tasks=False)}, or none for the base model alone; if not given: "
        f"{DEFAULT_ROUTER}, or {ENCODER_ROUTER} if the base model has an encoder, or a built model's own",
    )
    parser.add_argument("--expert", type=str | None, help="Answer with this expert alone, without a router")
    add_skill_options(parser)
    parser.add_argument("--max-new-tokens", type=int, default=64, help="Maximum tokens of the answer")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="Sampling temperature; 0 takes the most probable token"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="Sample from the smallest set of most probable tokens with this total probability",
    )
    parser.add_argument(
        "--top-k", type=int, default=0, help="Sample from this number of most probable tokens; 0 means all"
    )
    parser.add_argument("--seed", type=int | None, help="Seed of sampling, and of the choice of --few-shot")
    parser.add_argument(
        "--template",
        type=Literal["none", "plain", "chat"] | None,
        help="Template of the prompt: plain adds 'Answer:', chat is the model's chat template, none leaves "
        "the prompt as it is; if not given: that of the experts' training, as recorded in their cards",
    )
    add_template_args(parser)
    parser.add_argument("--show-experts", action="store_true", help="Show which experts each token used")
    add_role_option(parser)
    add_base_options(parser)
    add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of the answer alone")


OPTIONAL = "prompt"
COMMON = (
    "--expert",
    "--router",
    "--show-experts",
    "--prompts",
    "--log",
    "--few-shot",
    "--max-new-tokens",
    "--temperature",
    "--seed",
    "--template",
    "--base",
    "--device",
    "--json",
)
