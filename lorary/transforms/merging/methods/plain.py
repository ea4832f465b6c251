"""All merging methods without an inner method, by name, with their properties."""

from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.arcee_fusion import ArceeFusionConfig, merge_arcee_fusion
from lorary.transforms.merging.methods.breadcrumbs import BreadcrumbsConfig, merge_breadcrumbs
from lorary.transforms.merging.methods.cat import merge_cat
from lorary.transforms.merging.methods.dare import DareConfig, merge_dare
from lorary.transforms.merging.methods.dare_ties import DareTiesConfig, merge_dare_ties
from lorary.transforms.merging.methods.della import DellaConfig, merge_della
from lorary.transforms.merging.methods.iso import IsoConfig, merge_iso
from lorary.transforms.merging.methods.iso_cts import IsoCtsConfig, merge_iso_cts
from lorary.transforms.merging.methods.karcher import KarcherConfig, merge_karcher
from lorary.transforms.merging.methods.knots import KnotsConfig, merge_knots
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear
from lorary.transforms.merging.methods.model_stock import ModelStockConfig, merge_model_stock
from lorary.transforms.merging.methods.nuslerp import NuslerpConfig, merge_nuslerp
from lorary.transforms.merging.methods.regmean import RegmeanConfig, merge_regmean
from lorary.transforms.merging.methods.sce import SceConfig, merge_sce
from lorary.transforms.merging.methods.slerp import SlerpConfig, merge_slerp
from lorary.transforms.merging.methods.subtract import SubtractConfig, merge_subtract
from lorary.transforms.merging.methods.svd_cur import SvdCurConfig, merge_svd_cur
from lorary.transforms.merging.methods.task_arithmetic import TaskArithmeticConfig, merge_task_arithmetic
from lorary.transforms.merging.methods.ties import TiesConfig, merge_ties
from lorary.transforms.merging.methods.tsv import TsvConfig, merge_tsv
from lorary.transforms.merging.methods.wudi import WudiConfig, merge_wudi
from lorary.transforms.merging.spaces import Space

_ANYWHERE: tuple[Space, ...] = ("delta", "core", "factors")

PLAIN: dict[str, MergeKind] = {
    "linear": MergeKind(config=LinearConfig, merge=merge_linear, spaces=("delta", "factors"), base="listed"),
    "cat": MergeKind(config=LinearConfig, merge=merge_cat, keeps_full_rank=True),
    "task_arithmetic": MergeKind(
        config=TaskArithmeticConfig,
        merge=merge_task_arithmetic,
        spaces=("delta", "factors"),
        default_weight="one",
    ),
    "ties": MergeKind(
        config=TiesConfig, merge=merge_ties, spaces=_ANYWHERE, own_options=("density",), entry_nanoseconds=6.5
    ),
    "dare": MergeKind(
        config=DareConfig, merge=merge_dare, spaces=_ANYWHERE, own_options=("density",), entry_nanoseconds=7.5
    ),
    "dare_ties": MergeKind(
        config=DareTiesConfig,
        merge=merge_dare_ties,
        spaces=_ANYWHERE,
        own_options=("density",),
        entry_nanoseconds=9.5,
    ),
    "della": MergeKind(
        config=DellaConfig,
        merge=merge_della,
        spaces=_ANYWHERE,
        own_options=("density", "epsilon"),
        entry_nanoseconds=18.0,
    ),
    "breadcrumbs": MergeKind(
        config=BreadcrumbsConfig,
        merge=merge_breadcrumbs,
        spaces=_ANYWHERE,
        own_options=("density", "gamma"),
        entry_nanoseconds=6.5,
    ),
    "sce": MergeKind(
        config=SceConfig, merge=merge_sce, spaces=_ANYWHERE, min_experts=2, entry_nanoseconds=7.0
    ),
    "slerp": MergeKind(
        config=SlerpConfig,
        merge=merge_slerp,
        default_weight="none",
        min_experts=2,
        max_experts=2,
        base="first",
    ),
    "nuslerp": MergeKind(config=NuslerpConfig, merge=merge_nuslerp, min_experts=2, max_experts=2),
    "karcher": MergeKind(config=KarcherConfig, merge=merge_karcher, default_weight="none", base="joins"),
    "model_stock": MergeKind(
        config=ModelStockConfig, merge=merge_model_stock, default_weight="none", min_experts=2
    ),
    "arcee_fusion": MergeKind(
        config=ArceeFusionConfig,
        merge=merge_arcee_fusion,
        default_weight="none",
        min_experts=2,
        max_experts=2,
        base="first",
        entry_nanoseconds=60.0,
    ),
    "knots": MergeKind(config=KnotsConfig, merge=merge_knots, own_options=("density",)),
    "tsv": MergeKind(config=TsvConfig, merge=merge_tsv, default_weight="one"),
    "iso": MergeKind(config=IsoConfig, merge=merge_iso, default_weight="one"),
    "iso_cts": MergeKind(config=IsoCtsConfig, merge=merge_iso_cts, default_weight="one"),
    "svd_cur": MergeKind(config=SvdCurConfig, merge=merge_svd_cur),
    "wudi": MergeKind(config=WudiConfig, merge=merge_wudi, default_weight="one", has_negative_weights=False),
    "regmean": MergeKind(
        config=RegmeanConfig,
        merge=merge_regmean,
        default_weight="one",
        has_negative_weights=False,
        needs_inputs=True,
    ),
    "subtract": MergeKind(
        config=SubtractConfig,
        merge=merge_subtract,
        default_weight="one",
        keeps_full_rank=True,
        min_experts=2,
    ),
}
