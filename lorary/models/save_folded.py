"""Saving an expert folded into its base model, as a plain ``transformers`` folder."""

from collections.abc import Mapping
from pathlib import Path

import torch

from lorary.experts import Expert
from lorary.files import escape_markdown
from lorary.models.base import BaseModel
from lorary.models.check_base import check_base
from lorary.models.fold import fold
from lorary.models.new_folder import new_folder
from lorary.models.plain_folder import write_plain


def save_folded(
    base: BaseModel,
    expert: Expert,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    trust_base: bool = False,
    general: Expert | Mapping[str, Expert] | None = None,
) -> None:
    """Write base model and expert as one model, which ``transformers`` loads without lorary.

    Args:
        base: the expert's base model; it is not changed.
        expert: the expert; each layer's weight becomes ``W + b @ a``, summed in float32 and rounded once.
            Weights of a quantised base model are dequantised; a warning says so, with the error.
        folder: the folder for weights, settings, tokenizer and a README; it must be new or empty.
        dtype: of the weights; None for the base model's.
        trust_base: whether to accept an expert for another base model, with a warning.
        general: the general expert that the expert builds on, or a library that has it, see ``fold``.

    Raises:
        IncompatibleExpert: if the expert was trained on another base model, or the base model's weights are
            quantised in a way that cannot be undone.
        LibraryError: if the folder is not empty or cannot be written; no partial folder is left.
    """
    check_base(base, expert, trust=trust_base)
    with new_folder(folder) as scratch:
        write_plain(fold(base.model, expert, dtype, general=general), scratch)
        base.tokenizer.save_pretrained(scratch)
        (scratch / "README.md").write_text(_render_readme(base, expert), encoding="utf-8")


def _render_readme(base: BaseModel, expert: Expert) -> str:
    facts = {
        "Base model": f"{base.name}, fingerprint {base.fingerprint}; its licence holds for these weights too",
        "Base revision": base.revision or "",
        "Expert": expert.name,
        "Tasks": ", ".join(expert.card.tasks),
        "Merged from": ", ".join(expert.card.parents),
    }
    loader = "AutoModelForSeq2SeqLM" if base.is_encoder_decoder else "AutoModelForCausalLM"
    lines = "".join(f"- {title}: {escape_markdown(text)}\n" for title, text in facts.items() if text)
    return (
        f"# {expert.name}, folded into its base model\n\n{lines}\n"
        f"```python\nfrom transformers import {loader}, AutoTokenizer\n\n"
        f'model = {loader}.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n```\n'
    )
