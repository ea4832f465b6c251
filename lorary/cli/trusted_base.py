"""``--trust-base`` for commands that combine experts without their base model."""

import warnings
from collections.abc import Mapping, Sequence

from jsonargparse import Namespace

from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import compare_bases
from lorary.experts.expert import identify_base
from lorary.files import quote, say_count
from lorary.library import Library


def choose_experts(
    options: Namespace, library: Library, names: Sequence[str], base_model: str | None = None
) -> Mapping[str, Expert]:
    """Return the experts of a library; with ``--trust-base``, some of them for one base model.

    Args:
        options: the command's options.
        library: the library.
        names: the experts that are combined.
        base_model: their base model; None means what the first of them names.
    """
    if not options.trust_base or not names:
        return library
    experts = dict(library.items())
    trusted = identify_base(experts[names[0]]) if base_model is None else BaseIdentity(base_model)
    misfits = [name for name in names if not compare_bases(identify_base(experts[name]), trusted).fits]
    if misfits:
        warnings.warn(_tell_trusted(experts[misfits[0]], len(misfits) - 1, trusted.name), stacklevel=2)
    name, fingerprint, revision = trusted.name, trusted.fingerprint, trusted.revision
    for each in names:
        experts[each] = experts[each].with_base(name, revision=revision, fingerprint=fingerprint)
    return experts


def _tell_trusted(expert: Expert, num_others: int, base_model: str) -> str:
    others = f" (and {say_count(num_others, 'more expert')} of another base model)" if num_others else ""
    return (
        f"expert {expert.name!r} was trained on {quote(expert.base_model)}{others}: treated as trained "
        f"on {quote(base_model)}, since the base model is trusted; only the shapes of layers are checked"
    )
