"""Reports: tables, self-contained HTML pages, and pictures of results and routing.

Each name is imported when first used, because pictures need ``matplotlib``, ``scipy`` and ``sklearn``.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.reports.cluster_plot import plot_clusters
    from lorary.reports.library_report import LibraryReport, write_report_html, write_report_json
    from lorary.reports.routed_sample import RoutedSample, RoutedToken
    from lorary.reports.routing_picture import write_routing_html
    from lorary.reports.tables import difference_grid, render_markdown, render_table, result_grid
    from lorary.reports.traced_sample import trace_sample
    from lorary.reports.usage_plot import plot_usage

__all__ = [
    "LibraryReport",
    "RoutedSample",
    "RoutedToken",
    "difference_grid",
    "plot_clusters",
    "plot_usage",
    "render_markdown",
    "render_table",
    "result_grid",
    "trace_sample",
    "write_report_html",
    "write_report_json",
    "write_routing_html",
]

__getattr__ = load_lazily(
    __name__,
    {
        "LibraryReport": "library_report",
        "RoutedSample": "routed_sample",
        "RoutedToken": "routed_sample",
        "difference_grid": "tables",
        "plot_clusters": "cluster_plot",
        "plot_usage": "usage_plot",
        "render_markdown": "tables",
        "render_table": "tables",
        "result_grid": "tables",
        "trace_sample": "traced_sample",
        "write_report_html": "library_report",
        "write_report_json": "library_report",
        "write_routing_html": "routing_picture",
    },
)
