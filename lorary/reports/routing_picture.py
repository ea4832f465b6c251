"""A self-contained page that shows the experts used by each token."""

import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from lorary.errors import suggest
from lorary.evaluation.result import Result
from lorary.files import quote, write_whole
from lorary.reports import routing_html
from lorary.reports.page import make_footer, make_page, make_section, result_section
from lorary.reports.palette import BASE_COLOURS
from lorary.reports.routed_sample import RoutedSample, Usage


def write_routing_html(
    path: str | os.PathLike[str],
    samples: Sequence[RoutedSample],
    names: Sequence[str],
    *,
    usage_by_task: Usage | None = None,
    usage_by_layer: Usage | None = None,
    result: Result | None = None,
    title: str = "Which experts the tokens used",
) -> None:
    """Write one self-contained HTML page, without scripts, fonts or network access.

    Args:
        path: the page's path.
        samples: prompts and answers, coloured by the expert with the greatest share.
        names: all experts, in the order of colours and columns.
        usage_by_task: task -> expert -> share, drawn as a heat map.
        usage_by_layer: layer -> expert -> share, from the first layer to the last, drawn as bars.
        result: a result to be shown first, with a table for each metric.
        title: the page's heading.

    Raises:
        ValueError: if an expert is not among ``names``, or a share is negative or not finite.
    """
    check_routing(names, samples, {"task": usage_by_task or {}, "layer": usage_by_layer or {}})
    sections = [
        result_section(result),
        samples_section(samples, names),
        tasks_section(usage_by_task, names),
        layers_section(usage_by_layer, names),
    ]
    body = "".join(sections) + make_footer(result)
    write_whole(path, make_page(title, body, names).encode())


def check_routing(names: Sequence[str], samples: Sequence[RoutedSample], usages: Mapping[str, Usage]) -> None:
    """Check that routing can be drawn.

    Args:
        names: all experts.
        samples: the samples.
        usages: kind of rows, such as ``"task"`` -> row -> expert -> share.

    Raises:
        ValueError: if an expert is not among ``names``, or a share is negative or not finite.
    """
    _check_names(names)
    for sample in samples:
        for token in (*sample.prompt, *sample.answer):
            _check_shares(token.experts, names, f"a sample of task {quote(sample.task)}")
    for kind, usage in usages.items():
        for row, shares in usage.items():
            _check_shares(shares.items(), names, f"{kind} {quote(row)}")


def samples_section(samples: Sequence[RoutedSample], names: Sequence[str]) -> str:
    """Draw samples token by token."""
    if not samples:
        return ""
    places = {name: index for index, name in enumerate(names)}
    legend = routing_html.legend(_leading_experts(samples, places))
    cards = "".join(routing_html.sample_card(sample, places) for sample in samples)
    lead = (
        "Each token has the colour of the expert with the greatest share of its routing, averaged over "
        "layers; point at a token for the shares. Choose an expert to see only its tokens."
    )
    return make_section("Token by token", lead, f'{legend}<div class="samples">{cards}</div>')


def _leading_experts(samples: Sequence[RoutedSample], places: Mapping[str, int]) -> dict[str, int]:
    tokens = [token for sample in samples for token in (*sample.prompt, *sample.answer)]
    leading = {routing_html.leading_expert(token) for token in tokens if token.experts}
    # A short list is shown completely, including experts that never have the greatest share.
    is_short = len(places) <= len(BASE_COLOURS)
    return {name: place for name, place in places.items() if is_short or name in leading}


def tasks_section(usage: Usage | None, names: Sequence[str]) -> str:
    """Draw a heat map, with tasks as rows and experts as columns."""
    if not usage:
        return ""
    lead = "Percent of the routing that each expert (column) had on each task (row); a task's own is framed."
    return make_section("Experts by task", lead, routing_html.heat_map(usage, names))


def layers_section(usage: Usage | None, names: Sequence[str]) -> str:
    """Draw a bar for each layer, divided by the experts' shares."""
    if not usage:
        return ""
    lead = "Share of each expert in the routing of each layer, from the first layer to the last."
    return make_section("Experts by layer", lead, routing_html.layer_chart(usage, names))


def _check_names(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ValueError(f"names must differ from each other, found more than once: {quote(repeated)}")


def _check_shares(shares: Iterable[tuple[str, float]], names: Sequence[str], where: str) -> None:
    for name, share in shares:
        if name not in names:
            raise ValueError(
                f"{where} uses an expert {quote(name)} that is not in names: {suggest(name, names)}"
            )
        if not isfinite(share) or share < 0:
            raise ValueError(
                f"{where}: the share of expert {quote(name)} must be finite and not negative, found {share!r}"
            )
