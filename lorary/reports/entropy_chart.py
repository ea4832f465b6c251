"""A chart of the routing's entropy by layer, as a piece of HTML."""

from collections.abc import Mapping
from math import exp

from lorary.files import escape_html
from lorary.reports.routing_html import AXIS, BAR_GAP, BAR_WIDTH, svg_text

HEIGHT = 120


def entropy_chart(entropy_by_layer: Mapping[str, float]) -> str:
    """Draw a bar for each layer, whose height is the entropy of its tokens in nats."""
    highest = max(*entropy_by_layer.values(), 1e-6)
    bars, axis = [], []
    # About 40 labels fit side by side.
    every = 1 + len(entropy_by_layer) // 40
    for index, (layer, entropy) in enumerate(entropy_by_layer.items()):
        left, height = AXIS + index * (BAR_WIDTH + BAR_GAP), HEIGHT * entropy / highest
        title = f"{layer}: {entropy:.2f} nats, the entropy of {exp(entropy):.1f} equal shares"
        bars.append(
            f'<rect class="plain" x="{left}" y="{HEIGHT + 5 - height:.2f}" width="{BAR_WIDTH}" '
            f'height="{height:.2f}"><title>{escape_html(title)}</title></rect>'
        )
        if index % every == 0:
            axis.append(svg_text(left + BAR_WIDTH / 2, HEIGHT + 22, "middle", str(index)))
    axis += [
        svg_text(AXIS - 8, HEIGHT * (1 - share) + 9, "end", f"{share * highest:.2f}") for share in (0, 0.5, 1)
    ]
    width, height = AXIS + len(entropy_by_layer) * (BAR_WIDTH + BAR_GAP), HEIGHT + 28
    return (
        '<figure class="card scroll layers" tabindex="0">'
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Entropy of the routing by layer">{"".join(bars)}{"".join(axis)}</svg></figure>'
    )
