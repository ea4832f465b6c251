"""Build a routed model: one folder with router, experts and versions, to be loaded with one line.

The folder holds the experts of a library as PEFT adapters, the router with its options and everything it is
built from. The base model is named in it; --with-base puts its weights there too.
"""

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lorary.cli import model_options
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line, print_next, say_count, show_status

EXAMPLE = "lorary build ./my-loras --router arrow --out my-model"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the router, and where the model goes."""
    from lorary.routing import DEFAULT_ROUTER

    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the model; it must not exist yet")
    parser.add_argument(
        "--router", type=str, default=DEFAULT_ROUTER, help=", ".join(model_options.list_ready_routers())
    )
    parser.add_argument(
        "--with-base", action="store_true", help="Put the base model's weights into the folder too"
    )
    model_options.add_base_options(parser)
    model_options.add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Check everything, say what will be done, then load, write and report."""
    from dataclasses import asdict

    from lorary.assembly import load_model, save_model
    from lorary.models.new_folder import require_free

    check_out(options.out, options.library)
    library = model_options.open_filled_library(options.library)
    model_options.refuse_unused_options(options, [options.router])
    config = model_options.read_router_options(options, options.router, list(library))
    require_free(options.out)
    with_base = "with" if options.with_base else "without"
    plan = f"{say_count(len(library), 'expert')}, router {options.router}, {with_base} the base model"
    print_line(f"building {plan}", stderr=True)
    base = model_options.load_options_base(options, library)
    with show_status("preparing the router and writing"):
        model = load_model(base, library, router=options.router, combine=options.combine, **asdict(config))
        save_model(model, options.out, with_base=options.with_base)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if options.json:
        facts = {"out": str(options.out), "router": options.router, "experts": list(model.names)}
        print_json({**facts, "base_model": base.name, "with_base": options.with_base, "bytes": size})
        return 0
    print_line(f"model     {options.out}  ({plan}; {size / 1e6:.0f} MB)")
    print_line(f"python    lorary.load_model({json.dumps(str(options.out))})")
    print_next("lorary", "generate", str(options.out), "PROMPT", "--show-experts")
    return 0
