"""Write one expert for other programs."""

from dataclasses import replace

import torch
from jsonargparse import Namespace

from lorary.cli.base_model import read_device
from lorary.cli.console import print_next, show_status
from lorary.cli.filled_library import open_filled_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.errors import UnknownExpert
from lorary.experts import Expert, add_general, write_peft
from lorary.files import quote
from lorary.models import load_base, save_folded
from lorary.models.loadable_name import find_loadable_name
from lorary.models.new_folder import require_free


def run(options: Namespace) -> int:
    """Check the options, write the folder, and print its path."""
    check_out(options.out, options.library)
    library = open_filled_library(options.library)
    if options.expert not in library:
        raise UnknownExpert(options.expert, library, f"library {quote(options.library)}")
    if not options.fold and (options.base or options.revision or options.trust_base or options.quantize):
        raise ValueError(
            "--base, --revision, --trust-base and --quantize need --fold, because an adapter alone needs no "
            "base model: add --fold, or leave them out"
        )
    require_free(options.out)
    expert = add_general(library[options.expert], library)
    form = write_folded(options, expert) if options.fold else write_adapter(options, expert)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if options.json:
        print_json({"out": str(options.out), "expert": expert.name, "fold": options.fold, "bytes": size})
        return 0
    print_line(f"{form}  {options.out}  ({size / 1e6:.1f} MB; its README.md shows how to load it)")
    if (general := library[options.expert].card.on_top_of) is not None:
        name = library.find_general(general) or ""
        print_line(f"it is the exact sum of {quote(options.expert)} and its general expert {quote(name)}")
    print_next("lorary", "library", "show", options.library, options.expert)
    return 0


def write_adapter(options: Namespace, expert: Expert) -> str:
    """Write a PEFT folder; returns the name of the format.

    Its base model is named so that PEFT finds it: by a hub id, or the whole path of a folder.
    """
    expert = replace(expert, base_model=find_loadable_name(expert.base_model))
    write_peft(expert, options.out, dtype=options.dtype and getattr(torch, options.dtype))
    return "PEFT adapter"


def write_folded(options: Namespace, expert: Expert) -> str:
    """Load the base model, fold the expert into it and write it; returns the name of the format."""
    name = options.base or expert.base_model
    if not name:
        raise ValueError(
            f"the card of expert {quote(expert.name)} names no base model: choose it with --base"
        )
    revision = options.revision or (None if options.base else expert.card.base_revision)
    with show_status(f"folding {expert.name} into {name}"):
        dtype = options.dtype and getattr(torch, options.dtype)
        base = load_base(
            name, revision=revision, device=read_device(options), dtype=dtype, quantization=options.quantize
        )
        save_folded(base, expert, options.out, dtype=dtype, trust_base=options.trust_base)
    return "transformers model"
