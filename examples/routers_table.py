"""The routers that examples/routing.py and examples/left_out.py compare, by the names of their routes."""

from collections.abc import Mapping

from lorary.routing import ArrowConfig, CalibratedConfig, RetrievalConfig, RouterConfig

ROUTERS: Mapping[str, tuple[str, RouterConfig | None, str]] = {
    "uniform": ("uniform", None, "outputs"),
    "uniform factors": ("uniform", None, "factors"),
    "arrow": ("arrow", ArrowConfig(), "outputs"),
    "arrow factors": ("arrow", ArrowConfig(), "factors"),
    "arrow, tied": ("arrow", ArrowConfig(tie_inputs=True), "outputs"),
    "arrow, learned": ("arrow", ArrowConfig(subtract_start=True), "outputs"),
    "arrow, top-1": ("arrow", ArrowConfig(top_k=1), "outputs"),
    "spectr": ("spectr", None, "outputs"),
    "lag": ("lag", None, "outputs"),
    "mean_activation": ("mean_activation", None, "outputs"),
    "phatgoose": ("phatgoose", None, "outputs"),
    "retrieval": ("retrieval", None, "outputs"),
    "retrieval, top-3": ("retrieval", RetrievalConfig(top_k=3), "outputs"),
    "retrieval, top-3, factors": ("retrieval", RetrievalConfig(top_k=3), "factors"),
    "seqr": ("seqr", None, "outputs"),
    "logo": ("logo", None, "outputs"),
    "qa_flora": ("qa_flora", None, "outputs"),
    "card": ("card", None, "outputs"),
    "hilora": ("hilora", None, "outputs"),
    "calibrated": ("calibrated", CalibratedConfig(), "outputs"),
    "calibrated, always sure": ("calibrated", CalibratedConfig(margin=None, temperature=0.2), "outputs"),
    "calibrated, all layers": ("calibrated", CalibratedConfig(depth=1.0, most_tokens=None), "outputs"),
    "calibrated, margin 0.5": ("calibrated", CalibratedConfig(margin=0.5, fallback="all"), "outputs"),
    "calibrated, fallback all": ("calibrated", CalibratedConfig(fallback="all"), "outputs"),
    "calibrated, top-1": ("calibrated", CalibratedConfig(top_k=1, margin=None), "outputs"),
    "calibrated, temperature 0.1": ("calibrated", CalibratedConfig(temperature=0.1), "outputs"),
    "calibrated, temperature 0.3": ("calibrated", CalibratedConfig(temperature=0.3), "outputs"),
    "calibrated, spread 1": ("calibrated", CalibratedConfig(spread=1.0), "outputs"),
    "calibrated, spread 2": ("calibrated", CalibratedConfig(spread=2.0), "outputs"),
    "calibrated, last_share 0": ("calibrated", CalibratedConfig(last_share=0.0), "outputs"),
    "calibrated, ridge 1e6": ("calibrated", CalibratedConfig(ridge=1e6), "outputs"),
    "calibrated factors": ("calibrated", CalibratedConfig(), "factors"),
}
