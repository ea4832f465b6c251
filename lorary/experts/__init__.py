"""Experts and the PEFT file format, both ways.

An ``Expert`` is plain data: a name, a base model, and for each changed linear layer a pair of factors
whose product is added to that layer's weight. On disk it is a PEFT adapter folder with a sidecar
``expert.json``; only safetensors and JSON are read.
"""

from lorary.experts.alike import AlikeFactors, read_alike
from lorary.experts.base_blocks import count_blocks
from lorary.experts.base_names import BaseIdentity, agree_on_revision, is_same_base
from lorary.experts.card import ExpertCard
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import choose_dtype, describe_weight
from lorary.experts.expert import Expert, check_finite, identify_base
from lorary.experts.factors import Factors
from lorary.experts.names import check_known_name, check_name, fold_name
from lorary.experts.peft_reader import (
    OpenedAdapter,
    build_expert,
    open_adapter,
    read_card,
    read_expert_folder,
    read_peft,
)
from lorary.experts.peft_writer import write_expert_files, write_peft
from lorary.experts.sidecar import Sidecar, WeightSummary

__all__ = [
    "COPIED_WEIGHTS",
    "AlikeFactors",
    "BaseIdentity",
    "Expert",
    "ExpertCard",
    "Factors",
    "OpenedAdapter",
    "Sidecar",
    "WeightSummary",
    "agree_on_revision",
    "build_expert",
    "check_finite",
    "check_known_name",
    "check_name",
    "choose_dtype",
    "count_blocks",
    "describe_weight",
    "fold_name",
    "identify_base",
    "is_same_base",
    "open_adapter",
    "read_alike",
    "read_card",
    "read_expert_folder",
    "read_peft",
    "write_expert_files",
    "write_peft",
]
