"""Experts, and reading and writing them in PEFT's file format.

An ``Expert`` is plain data: a name, a base model, and for each changed linear layer a pair of factors
whose product is added to that layer's weight. On disk it is a PEFT adapter folder with an additional file
``expert.json``. Files are safetensors and JSON; weights by ``torch.save`` are read with restrictions.

Names are loaded when first used, so that options of commands can be read without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.experts.alike import read_alike
    from lorary.experts.base_identity import BaseIdentity
    from lorary.experts.base_names import is_same_base
    from lorary.experts.card import ExpertCard
    from lorary.experts.expert import Expert
    from lorary.experts.factors import Factors
    from lorary.experts.names import check_name
    from lorary.experts.on_top import add_general, hash_weights
    from lorary.experts.peft_reader import read_peft
    from lorary.experts.peft_writer import write_expert_files, write_peft

__all__ = [
    "BaseIdentity",
    "Expert",
    "ExpertCard",
    "Factors",
    "add_general",
    "check_name",
    "hash_weights",
    "is_same_base",
    "read_alike",
    "read_peft",
    "write_expert_files",
    "write_peft",
]

__getattr__ = load_lazily(
    __name__,
    {
        "BaseIdentity": "base_identity",
        "Expert": "expert",
        "ExpertCard": "card",
        "Factors": "factors",
        "add_general": "on_top",
        "check_name": "names",
        "hash_weights": "on_top",
        "is_same_base": "base_names",
        "read_alike": "alike",
        "read_peft": "peft_reader",
        "write_expert_files": "peft_writer",
        "write_peft": "peft_writer",
    },
)
