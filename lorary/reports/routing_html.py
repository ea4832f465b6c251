"""The parts of the routing page, each as a piece of HTML; all given texts are escaped."""

from collections.abc import Mapping, Sequence

from lorary import files
from lorary.files import escape_html
from lorary.reports.palette import NUM_HEAT_STEPS
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from lorary.reports.tables import Cell, Grid, Row, describe_marks

NUM_IN_TOOLTIP = 5
NUM_IN_SUMMARY = 4
MAX_RIGHT = 600
MAX_WIDE_COLUMNS = 16
BAR_HEIGHT, BAR_WIDTH, BAR_GAP, AXIS = 190, 25, 4, 42


def numbers_table(grid: Grid) -> str:
    """Draw a table of numbers."""
    head = "".join(f'<th scope="col">{escape_html(column)}</th>' for column in grid.columns)
    uses = "".join(f"<td>{escape_html(each)}</td>" for each in grid.uses)
    below = f'<tr class="dim"><th scope="row">uses</th>{uses}</tr>' if uses else ""
    body = "".join(_numbers_row(row) for row in grid.rows)
    foot = f"<tfoot>{_numbers_row(grid.footer)}</tfoot>" if grid.footer is not None else ""
    return (
        '<div class="card scroll" tabindex="0"><table class="numbers">'
        f"<caption>{escape_html(grid.title)}</caption>"
        f"<thead><tr><th></th>{head}</tr>{below}</thead><tbody>{body}</tbody>{foot}</table></div>"
        f'<p class="dim">{escape_html(describe_marks(grid, "In bold"))}</p>'
    )


def legend(places: Mapping[str, int]) -> str:
    """Draw the legend of experts, coloured by their places; choosing one fades the tokens of the others."""
    every = '<label><input type="radio" name="pick" id="pickall" checked><span>all experts</span></label>'
    labels = "".join(
        f'<label class="x{i}" title="{escape_html(name)}">'
        f'<input type="radio" name="pick" id="pick{i}"><i></i>'
        f"<span>{escape_html(name)}</span></label>"
        for name, i in places.items()
    )
    return f'<fieldset class="legend" aria-label="Experts">{every}{labels}</fieldset>'


def sample_card(sample: RoutedSample, places: Mapping[str, int]) -> str:
    """Draw a prompt and its answer token by token, the right answer, and the answer's shares of experts."""
    prompt = "".join(_token_span(token, places) for token in sample.prompt)
    answer = "".join(_token_span(token, places) for token in sample.answer)
    return (
        f'<article class="card sample"><h3>{escape_html(sample.task)}</h3>'
        f'<p class="tokens"><span class="who">Prompt</span>{prompt}</p>'
        f'<p class="tokens"><span class="who">Answer{_verdict(sample)}</span>{answer}</p>'
        f"{_right_answer(sample)}"
        f"{_usage_bar(mean_usage(sample.answer), places)}</article>"
    )


def _verdict(sample: RoutedSample) -> str:
    if sample.is_right is None:
        return ""
    return ' <b class="right">✓ right</b>' if sample.is_right else ' <b class="wrong">✗ wrong</b>'


def _right_answer(sample: RoutedSample) -> str:
    if not sample.right:
        return ""
    shown = escape_html(files.escape(sample.right, keep="\n", longest=MAX_RIGHT)).replace("\n", "↵\n")
    return (
        f'<p class="tokens"><span class="who">Right answer</span><span class="plain-text">{shown}</span></p>'
    )


def heat_map(usage_by_task: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    """Draw the share of each expert on each task; a task's own expert is framed."""
    rows = {
        task: [_heat_cell(usage.get(name, 0.0), task, name) for name in names]
        for task, usage in usage_by_task.items()
    }
    return heat_table(rows, names)


def heat_table(rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> str:
    """Draw a table of coloured cells under vertical headings; with many columns, cells are narrower.

    Args:
        rows: label -> its cells, each a ``<td>``.
        columns: the headings.
    """
    head = "".join(
        f'<th scope="col" title="{escape_html(name)}"><span>{escape_html(name)}</span></th>'
        for name in columns
    )
    body = "".join(
        f'<tr><th scope="row" title="{escape_html(label)}">{escape_html(label)}</th>{"".join(cells)}</tr>'
        for label, cells in rows.items()
    )
    style = "heat dense" if len(columns) > MAX_WIDE_COLUMNS else "heat"
    return (
        f'<div class="card scroll" tabindex="0"><table class="{style}">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def layer_chart(usage_by_layer: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    """Draw a bar for each layer, divided by the experts' shares."""
    width = AXIS + len(usage_by_layer) * (BAR_WIDTH + BAR_GAP)
    bars = "".join(
        _layer_bar(index, layer, usage, names) for index, (layer, usage) in enumerate(usage_by_layer.items())
    )
    axis = "".join(
        svg_text(AXIS - 8, BAR_HEIGHT * (1 - share / 100) + 9, "end", f"{share}%") for share in (0, 50, 100)
    )
    # About 40 labels fit side by side.
    axis += "".join(
        svg_text(_bar_left(index) + BAR_WIDTH / 2, BAR_HEIGHT + 22, "middle", str(index))
        for index in range(0, len(usage_by_layer), 1 + len(usage_by_layer) // 40)
    )
    height = BAR_HEIGHT + 28
    return (
        '<figure class="card scroll layers" tabindex="0">'
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Share of each expert by layer">{axis}{bars}</svg></figure>'
    )


def svg_text(x: float, y: float, anchor: str, text: str) -> str:
    """Return an SVG text; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape_html(text)}</text>'


def leading_expert(token: RoutedToken) -> str:
    """Return the expert with the greatest share of a token; the first one, if several are equal."""
    return max(token.experts, key=lambda item: item[1])[0]


def mean_usage(tokens: Sequence[RoutedToken]) -> dict[str, float]:
    """Return the mean share of each expert over tokens, the greatest first."""
    total: dict[str, float] = {}
    for token in tokens:
        for name, share in token.experts:
            total[name] = total.get(name, 0.0) + share
    ranked = sorted(total.items(), key=lambda item: -item[1])
    return {name: share / len(tokens) for name, share in ranked}


def format_shares(shares: Sequence[tuple[str, float]]) -> str:
    """Write shares as ``dates 43%, plurals 21%``; those that round to 0% only if there are no others."""
    return ", ".join(f"{name} {share:.0%}" for name, share in keep_visible(shares))


def keep_visible(shares: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float]]:
    """Leave out shares that round to 0%; if all do, none is left out."""
    return [(name, share) for name, share in shares if f"{share:.0%}" != "0%"] or shares


def _numbers_row(row: Row) -> str:
    cells = "".join(_numbers_cell(cell) for cell in row.cells)
    return f'<tr><th scope="row" title="{escape_html(row.label)}">{escape_html(row.label)}</th>{cells}</tr>'


def _numbers_cell(cell: Cell) -> str:
    text = f'<span class="best">{escape_html(cell.text)}</span>' if cell.is_best else escape_html(cell.text)
    error = f" <small>{escape_html(cell.error)}</small>" if cell.error else ""
    return f"<td>{text}{error}</td>"


def _token_span(token: RoutedToken, places: Mapping[str, int]) -> str:
    # A line break is shown as a sign, followed by the break itself.
    text = escape_html(token.text).replace("\n", "↵\n") or "▯"
    if not token.experts:
        return f'<span class="tok" title="base model alone">{text}</span>'
    ranked = sorted(token.experts, key=lambda item: -item[1])
    tooltip = escape_html(format_shares(ranked[:NUM_IN_TOOLTIP]))
    # The colour is as strong as the share; a sum of shares above 1 has no stronger one.
    percent = round(100 * min(ranked[0][1], 1.0))
    style = f'class="tok x{places[leading_expert(token)]}" style="--p:{percent}%"'
    return f'<span {style} title="{tooltip}">{text}</span>'


def _usage_bar(usage: Mapping[str, float], places: Mapping[str, int]) -> str:
    if not usage:
        return ""
    parts = "".join(
        f'<i class="x{places[name]}" style="flex:{share:.4f}" '
        f'title="{escape_html(f"{name} {share:.0%}")}"></i>'
        for name, share in usage.items()
    )
    summary = escape_html(format_shares(list(usage.items())[:NUM_IN_SUMMARY]))
    return f'<div class="bar" aria-hidden="true">{parts}</div><div class="dim">Answer: {summary}</div>'


def _heat_cell(share: float, task: str, name: str) -> str:
    percent = round(100 * share)
    step = round(min(max(share, 0.0), 1.0) * (NUM_HEAT_STEPS - 1))
    classes = f"h{step}" + (" own" if task == name else "") + ("" if percent else " nil")
    return f'<td class="{classes}" title="{escape_html(f"{task}: {name} {share:.1%}")}">{percent or "·"}</td>'


def _layer_bar(index: int, layer: str, usage: Mapping[str, float], names: Sequence[str]) -> str:
    total = sum(usage.values()) or 1.0
    bottom = BAR_HEIGHT + 5.0
    parts = []
    for place, name in enumerate(names):
        share = usage.get(name, 0.0) / total
        height = share * BAR_HEIGHT
        bottom -= height
        if share > 0:
            title = escape_html(f"{layer}: {name} {share:.0%}")
            parts.append(
                f'<rect class="x{place}" x="{_bar_left(index)}" y="{bottom:.2f}" width="{BAR_WIDTH}" '
                f'height="{height:.2f}"><title>{title}</title></rect>'
            )
    return "".join(parts)


def _bar_left(index: int) -> int:
    return AXIS + index * (BAR_WIDTH + BAR_GAP)
