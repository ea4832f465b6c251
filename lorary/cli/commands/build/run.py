"""Load a library, prepare the router, and save both as one folder."""

import json
from dataclasses import asdict

from jsonargparse import Namespace

from lorary.assembly import load_model, save_model
from lorary.cli.bars import show_work
from lorary.cli.base_model import load_options_base
from lorary.cli.console import print_next
from lorary.cli.default_router import choose_default_router
from lorary.cli.filled_library import open_routed_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_prompts
from lorary.cli.router_configs import read_router_options, refuse_unused_options
from lorary.files import say_count
from lorary.models.new_folder import require_free


def run(options: Namespace) -> int:
    """Check the options and print the plan; then load, save and report."""
    check_out(options.out, options.library)
    library = open_routed_library(options)
    options.router = options.router or choose_default_router(library)
    refuse_unused_options(options, [options.router])
    config = read_router_options(options, options.router, list(library))
    require_free(options.out)
    with_base = "with" if options.with_base else "without"
    plan = f"{say_count(len(library), 'expert')}, router {options.router}, {with_base} the base model"
    print_line(f"building {plan}", stderr=True)
    base = load_options_base(options, library)
    with show_work("preparing the router and saving the model") as show:
        model = load_model(
            base,
            library,
            router=options.router,
            combine=options.combine,
            trust_base=options.trust_base,
            on_progress=show,
            **asdict(config),
        )
        save_model(model, options.out, with_base=options.with_base)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if options.json:
        facts = {"out": str(options.out), "router": options.router, "experts": list(model.names)}
        print_json({**facts, "base_model": base.name, "with_base": options.with_base, "bytes": size})
        return 0
    print_line(f"model     {options.out}  ({plan}; {size / 1e6:.0f} MB)")
    print_line(f"python    lorary.load_model({json.dumps(str(options.out))})")
    device = [] if options.device is None else ["--device", options.device]
    words = [*repeat_prompts(library.entries()), *device]
    print_next("lorary", "generate", str(options.out), "PROMPT", *words, "--show-experts")
    return 0
