"""The display of a routed model and an explanation in a notebook.

T tokens, E experts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lorary.files import escape_html, html_table, say_count
from lorary.files.colours import BASE_COLOURS

if TYPE_CHECKING:
    from lorary.assembly.explanation import Explanation
    from lorary.assembly.routed_model import RoutedModel

MOST_TOKENS, MOST_NAMES = 2000, 40
NUM_IN_TOOLTIP = 3
# Opacity of the colour of a token with a share of 1; text on it is readable on light and dark pages.
FULL = 0.55


def draw_model(model: "RoutedModel") -> str:
    """Draw a table of a model's base, experts and router."""
    router, config, combine = model.routing
    rows = [
        ("base model", f"{model.base.name}, {str(model.dtype).removeprefix('torch.')} on {model.device}"),
        (say_count(len(model.names), "expert"), _list_names(model.names)),
        ("router", f"{router or 'none'}, {combine} combined" if router else "none: the base model alone"),
    ]
    if config is not None:
        rows.append(("options", str(config)))
    if model.controls:
        rows.append(("by name only", _list_names(model.controls)))
    return html_table("routed model", rows)


def draw_explanation(explanation: "Explanation") -> str:
    """Draw tokens in the colour of the expert with the largest share, stronger for larger shares."""
    shares = explanation.shares_per_token()  # [T, E]
    order = rank_experts(shares)
    colours = {expert: BASE_COLOURS[place] for place, expert in enumerate(order[: len(BASE_COLOURS)])}
    tokens = "".join(
        _draw_token(text, row, explanation.experts, colours)
        for text, row in zip(explanation.tokens[:MOST_TOKENS], shares, strict=False)
    )
    means = shares.mean(0).tolist()
    legend = " ".join(
        f'<span style="{_fill(colour, 1.0)}">{escape_html(explanation.experts[expert])}</span> '
        f"{means[expert]:.0%}"
        for expert, colour in colours.items()
        if means[expert] >= 0.005
    )
    cut = "" if len(explanation.tokens) <= MOST_TOKENS else f"<div>the first {MOST_TOKENS:,} tokens</div>"
    return (
        f'<div><div>{legend}</div><div style="font-family:monospace;white-space:pre-wrap;'
        f'line-height:1.9">{tokens}</div>{cut}</div>'
    )


def describe_shares(explanation: "Explanation", count: int = NUM_IN_TOOLTIP) -> str:
    """Name the experts with the largest mean shares, such as ``prices 85%, past_tense 15%``."""
    means = explanation.shares_per_token().mean(0)
    return ", ".join(
        f"{explanation.experts[expert]} {means[expert]:.0%}" for expert in rank_experts(means)[:count]
    )


def rank_experts(shares: Tensor) -> list[int]:
    """Order experts by their mean shares ``[T, E]`` or shares ``[E]``, the largest first."""
    means = shares.mean(0) if shares.dim() == 2 else shares
    order: list[int] = means.argsort(descending=True, stable=True).tolist()
    return order


def _draw_token(text: str, shares: Tensor, experts: Sequence[str], colours: dict[int, str]) -> str:
    ranked = rank_experts(shares)[:NUM_IN_TOOLTIP]
    title = ", ".join(f"{experts[expert]} {shares[expert]:.0%}" for expert in ranked)
    fill = _fill(colours[ranked[0]], float(shares[ranked[0]])) if ranked[0] in colours else ""
    shown = escape_html(text).replace("\n", "↵\n")
    return f'<span style="{fill}" title="{escape_html(title)}">{shown}</span>'


def _fill(colour: str, share: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"background:rgba({red},{green},{blue},{FULL * min(share, 1.0):.2f});border-radius:2px"


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f", and {more:,} more" if more > 0 else "")
