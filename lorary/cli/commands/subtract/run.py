"""Subtract one expert from all others, and write the results as a library."""

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.console import print_next
from lorary.cli.filled_library import group_by_base, open_routed_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_prompts
from lorary.cli.trusted_base import choose_experts
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.files import say_count
from lorary.library import Library
from lorary.models.new_folder import new_folder
from lorary.transforms import subtract_general
from lorary.transforms.general import ACTION


def run(options: Namespace) -> int:
    """Check the options, subtract, write the folder, and print its path."""
    check_out(options.out, options.library)
    library = open_routed_library(options)
    names = [name for group in group_by_base(library, options.base).values() for name in group]
    others = keep_low_rank(library, [name for name in names if name != options.general], ACTION)
    experts = choose_experts(options, library.library, [options.general, *others])
    rest = subtract_general(experts, options.general, names=others, scale=options.scale)
    with new_folder(options.out) as scratch, show_count(f"subtracting {options.general}") as show:
        made, rank = Library.open(str(scratch), create=True), 0
        for number, expert in enumerate(rest, 1):
            made.add(expert)
            rank = max(rank, expert.max_rank)
            show(number, len(others))
    if options.json:
        print_json({"out": str(options.out), "experts": others, "general": options.general, "rank": rank})
        return 0
    print_line(
        f"{say_count(len(others), 'expert')} without {options.general}, rank up to {rank}: {options.out}"
    )
    prompts = repeat_prompts(library.entries(base=options.base))
    print_next("lorary", "generate", str(options.out), "PROMPT", *prompts)
    return 0
