"""A report on a library and a router's use of it, on one page.

E experts.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from lorary.evaluation.compare import choose_reference, compare_routes
from lorary.evaluation.request_scores import RequestScores
from lorary.evaluation.result import Result
from lorary.evaluation.route_uses import name_uses
from lorary.files import dump_json, escape_html, say_count, write_whole
from lorary.reports.dendrogram import draw_dendrogram, link_experts, order_leaves
from lorary.reports.entropy_chart import entropy_chart
from lorary.reports.page import make_footer, make_page, make_section, result_section
from lorary.reports.routed_sample import RoutedSample, Usage
from lorary.reports.routing_html import numbers_table
from lorary.reports.routing_picture import (
    check_routing,
    check_scores,
    draw_legend,
    layers_section,
    samples_section,
    scores_section,
    tasks_section,
)
from lorary.reports.scale_bar import signed_bar
from lorary.reports.signed_map import signed_map
from lorary.reports.similarity_scale import choose_scale, describe_scale
from lorary.reports.tables import difference_grid


@dataclass(frozen=True, kw_only=True)
class LibraryReport:
    """The content of a report; parts that are empty or None are left out."""

    title: str
    """The page's heading."""
    facts: Mapping[str, str]
    """Name -> text of general facts: the library, the base model, the router."""
    names: tuple[str, ...]
    """All experts, E, in the order of colours and columns."""
    result: Result | None = None
    """The result of an evaluation."""
    against: str | None = None
    """The reference route of comparisons; None for ``choose_reference``'s."""
    usage_by_task: Usage | None = None
    """Task -> expert -> share of the routing."""
    usage_by_layer: Usage | None = None
    """Layer -> expert -> share of the routing; empty for a request router."""
    entropy_by_layer: Mapping[str, float] | None = None
    """Layer -> entropy of the routing in nats; empty as above."""
    scores_by_task: Mapping[str, RequestScores] | None = None
    """Task -> the scores of a request router."""
    similarity: tuple[tuple[float, ...], ...] | None = None
    """Cosines of the experts' weight changes, ``[E, E]``."""
    transfer: Usage | None = None
    """Task -> expert -> the loss with that expert alone minus the base model's."""
    own: Mapping[str, str] | None = None
    """Task -> its own expert."""
    samples: tuple[RoutedSample, ...] = ()
    """Prompts and answers, token by token."""


def write_report_html(path: str | os.PathLike[str], report: LibraryReport) -> None:
    """Write the report as one self-contained HTML page, without scripts, fonts or network access.

    Raises:
        ValueError: if an expert is not among the names, a share is negative or not finite, or the similarity
            is not ``[E, E]``.
    """
    usages = {"task": report.usage_by_task or {}, "layer": report.usage_by_layer or {}}
    check_routing(report.names, report.samples, usages)
    check_scores(report.names, report.scores_by_task or {})
    sections = [
        _facts(report.facts),
        result_section(report.result),
        _differences_section(report),
        tasks_section(report.usage_by_task, report.names),
        draw_legend(report.samples, report.names, report.usage_by_layer, report.scores_by_task),
        scores_section(report.scores_by_task, report.names),
        layers_section(report.usage_by_layer, report.names),
        _entropy_section(report.entropy_by_layer),
        samples_section(report.samples, report.names),
        _transfer_section(report),
        _similarity_section(report),
        make_footer(report.result),
    ]
    write_whole(path, make_page(report.title, "".join(sections), report.names).encode())


def write_report_json(path: str | os.PathLike[str], report: LibraryReport) -> None:
    """Write the report's numbers as JSON, without the result, which has its own file."""
    numbers = {key: value for key, value in asdict(report).items() if key != "result"}
    write_whole(path, dump_json(numbers, indent=1, allow_nan=True).encode())


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<dt>{escape_html(name)}</dt><dd>{escape_html(fact)}</dd>" for name, fact in facts.items()
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _differences_section(report: LibraryReport) -> str:
    result = report.result
    if result is None:
        return ""
    found = [
        compare_routes(result, metric, report.against or choose_reference(result, metric))
        for metric in result.metrics
    ]
    tables = "".join(
        numbers_table(difference_grid(differences, uses=name_uses)) for differences in found if differences
    )
    return make_section("Paired differences", "", tables)


def _entropy_section(entropy_by_layer: Mapping[str, float] | None) -> str:
    if not entropy_by_layer:
        return ""
    lead = (
        "Mean entropy of a token's routing weights in nats: 0 for one expert, log K for K experts with equal "
        "weights."
    )
    return make_section("Entropy of the routing by layer", lead, entropy_chart(entropy_by_layer))


def _transfer_section(report: LibraryReport) -> str:
    if not report.transfer:
        return ""
    # Lower loss is better, so it becomes positive, which is drawn in blue.
    gains = {
        task: {name: -value for name, value in values.items()} for task, values in report.transfer.items()
    }
    sizes = [abs(gain) for values in gains.values() for gain in values.values()]
    scale = float(np.quantile(sizes, 0.95))
    chart = signed_bar(f"-{scale:.2g} or less", f"{scale:.2g} or more") + signed_map(
        gains, report.names, scale=scale, digits=1, own=report.own
    )
    lead = (
        "Decrease of the loss (nats per token) on each task (row) by each expert alone (column), compared "
        "with the base model; orange is an increase. A task's own expert is framed."
    )
    return make_section("Transfer: expert by task", lead, chart)


def _similarity_section(report: LibraryReport) -> str:
    names = report.names
    if report.similarity is None or len(names) < 2:
        return ""
    similarity = np.array(report.similarity, dtype=np.float64)  # [E, E]
    if similarity.shape != (len(names), len(names)):
        raise ValueError(
            f"the similarity of {say_count(len(names), 'expert')} must be square, found {similarity.shape}"
        )
    links = link_experts(similarity)
    order = order_leaves(links)
    scale = choose_scale(similarity)
    chart = signed_bar(f"{-100 * scale:g}%", f"{100 * scale:g}%") + signed_map(
        {names[i]: {names[j]: 100 * float(similarity[i, j]) for j in order if j != i} for i in order},
        [names[i] for i in order],
        scale=100 * scale,
        digits=0,
    )
    lead = (
        "Cosines of the experts' weight changes over all layers. The tree joins the most similar experts "
        "first (average linkage); the table has the cosines in percent, in the order of the tree. "
        f"{describe_scale(scale)}"
    )
    return make_section("Similarity of experts", lead, draw_dendrogram(links, names) + chart)
