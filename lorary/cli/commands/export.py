"""Export one expert for other programs: as a PEFT adapter, or folded into its base model.

Without --fold the folder is a PEFT adapter, which PEFT and vLLM load; with it, a plain transformers model
whose weights are those of base and expert together. A merged expert is an expert like any other.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.cli import model_options
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line, print_next, show_status
from lorary.errors import UnknownExpert
from lorary.files import quote

if TYPE_CHECKING:
    from lorary.experts import Expert

EXAMPLE = "lorary export ./my-loras poetry --fold --out poetry-model"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the expert, and where it goes in which form."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("expert", help="Name of the expert")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it must not exist yet")
    parser.add_argument("--fold", action="store_true", help="Add the expert to its base model's weights")
    parser.add_argument(
        "--dtype",
        type=Literal["float16", "bfloat16", "float32"] | None,
        help="Of the weights that are written; as they are if not given",
    )
    model_options.add_base_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Check everything, write the folder, and say where it is."""
    from lorary.models.new_folder import require_free

    check_out(options.out, options.library)
    library = model_options.open_filled_library(options.library)
    if options.expert not in library:
        raise UnknownExpert(options.expert, library, f"library {quote(options.library)}")
    if not options.fold and (options.base is not None or options.revision is not None):
        raise ValueError("--base and --revision are for --fold: an adapter alone needs no base model")
    require_free(options.out)
    expert = library[options.expert]
    form = write_folded(options, expert) if options.fold else write_adapter(options, expert)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if options.json:
        print_json({"out": str(options.out), "expert": expert.name, "fold": options.fold, "bytes": size})
        return 0
    print_line(f"{form}  {options.out}  ({size / 1e6:.1f} MB; README.md says how to load it)")
    print_next("lorary", "library", "show", options.library, options.expert)
    return 0


def write_adapter(options: Namespace, expert: "Expert") -> str:
    """Write a PEFT folder; returns what it is, in words."""
    import torch

    from lorary.experts import write_peft

    write_peft(expert, options.out, dtype=options.dtype and getattr(torch, options.dtype))
    return "PEFT adapter"


def write_folded(options: Namespace, expert: "Expert") -> str:
    """Load the base model, add the expert and write both as one; returns what it is, in words."""
    import torch

    from lorary.models import load_base, save_folded

    name = options.base or expert.base_model
    if not name:
        raise ValueError(
            f"expert {quote(expert.name)} does not say which base model it is for: name it with --base"
        )
    revision = options.revision or (None if options.base else expert.card.base_revision)
    with show_status(f"folding {expert.name} into {name}"):
        base = load_base(name, revision=revision, device=model_options.find_device(options))
        dtype = options.dtype and getattr(torch, options.dtype)
        save_folded(base, expert, options.out, dtype=dtype)
    return "transformers model"
