"""Answer a prompt with a library's experts, or with a model that was built from one.

A router chooses the experts, some routers once from the prompt, others for every token. A built model brings
its router. With --expert one expert answers alone, with --router none the base model.
"""

from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.router_options import add_router_options, list_ready_routers
from lorary.cli.template_options import add_template_args
from lorary.routing import DEFAULT_ROUTER

EXAMPLE = "lorary generate ./my-loras 'Write the number in words: 42' --template plain --show-experts"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the prompt, who answers and how."""
    parser.add_argument("library", help="Folder or URL of the library, or folder of a built model")
    parser.add_argument("prompt", help="What to go on from; '-' reads it from stdin")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"{', '.join(list_ready_routers())}, or none for the base alone; {DEFAULT_ROUTER}, "
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
    add_template_args(parser)
    parser.add_argument("--show-experts", action="store_true", help="Show which experts the tokens used")
    add_base_options(parser)
    add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of the answer alone")
