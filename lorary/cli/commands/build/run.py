"""Load a library, prepare the router, and save both as one folder."""

import json
from dataclasses import asdict
from typing import Any

from jsonargparse import Namespace

from lorary.assembly import RoutedModel, load_model, save_model
from lorary.assembly.chosen_skills import choose_skills
from lorary.cli.bars import show_work
from lorary.cli.base_model import load_options_base
from lorary.cli.console import print_next
from lorary.cli.default_router import choose_default_router
from lorary.cli.filled_library import choose_routed, look_routed, open_filled_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_prompts
from lorary.cli.router_configs import read_router_options, refuse_unused_options
from lorary.cli.tuned_options import use_tuned
from lorary.experts.roles import SKILL
from lorary.experts.skills import SkillSet
from lorary.files import quote, say_count
from lorary.library.view import LibraryView
from lorary.models.new_folder import require_free


def run(options: Namespace) -> int:
    """Check the options and print the plan; then load, save and report."""
    check_out(options.out, options.library)
    library = open_experts(options)
    skill_set = choose_skills(library, ... if options.skills is None else options.skills)
    if not library and skill_set is None:
        raise ValueError(
            f"--skills is missing: library {quote(library.url)} has several sets of skills, with "
            f"{library.describe_left_out()}; name any skill of the set to use"
        )
    config: dict[str, Any] = {}
    if library:
        options.router = options.router or choose_default_router(library)
        chosen = read_router_options(options, options.router, list(library))
        config = asdict(use_tuned(chosen, options.router, library, options))
    refuse_unused_options(options, [options.router] if options.router else [])
    require_free(options.out)
    plan = describe_plan(options, library, skill_set)
    print_line(f"building {plan}", stderr=True)
    base = load_options_base(options, library or library.library.routed(SKILL))
    with show_work("preparing the router and saving the model") as show:
        model = load_model(
            base,
            library,
            router=options.router,
            combine=options.combine,
            skills=skill_set,
            trust_base=options.trust_base,
            on_progress=show,
            **config,
        )
        save_model(model, options.out, with_base=options.with_base)
    report(options, model, library, plan)
    return 0


def open_experts(options: Namespace) -> LibraryView:
    """Open the experts that the router chooses among; none if the library has skills only.

    Raises:
        LibraryError: if there is neither an expert nor a skill.
        ValueError: if a router is asked for, and there are skills only.
    """
    library = open_filled_library(options.library)
    view = look_routed(options, library)
    if view or SKILL not in view.left_out:
        return choose_routed(options, library)
    if options.router is not None:
        raise ValueError(
            f"--router {quote(options.router, 60)} needs experts, the library has skills only: leave out "
            "--router and name a task for each request, or use the skills as experts with --include skill"
        )
    return view


def describe_plan(options: Namespace, library: LibraryView, skill_set: SkillSet | None) -> str:
    """Describe the contents of the model."""
    parts = [f"{say_count(len(library), 'expert')}, router {options.router}"] if library else []
    if skill_set is not None:
        tasks = say_count(len(skill_set.table.tasks), "task")
        parts.append(f"{say_count(len(skill_set.skills), 'skill')} for {tasks}")
    return f"{', '.join(parts)}, {'with' if options.with_base else 'without'} the base model"


def report(options: Namespace, model: RoutedModel, library: LibraryView, plan: str) -> None:
    """Print the folder, its size, and how to use it."""
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if options.json:
        facts = {"out": str(options.out), "router": options.router, "experts": list(model.names)}
        facts |= {"tasks": list(model.tasks)} if model.tasks else {}
        print_json({**facts, "base_model": model.base.name, "with_base": options.with_base, "bytes": size})
        return
    print_line(f"model     {options.out}  ({plan}; {size / 1e6:.0f} MB)")
    print_line(f"python    lorary.load_model({json.dumps(str(options.out))})")
    device = [] if options.device is None else ["--device", options.device]
    if library:
        words = [*repeat_prompts(library.entries()), *device, "--show-experts"]
    else:
        prompts = repeat_prompts(library.library.entries(role=SKILL))
        words = ["--task", model.tasks[0], *prompts, *device]
    print_next("lorary", "generate", str(options.out), "PROMPT", *words)
