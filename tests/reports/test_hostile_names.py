"""What evaluation writes shows any name and acts on none: every writer joins ``WRITERS`` by one line."""

import json
from html.parser import HTMLParser
from io import StringIO
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from lorary.evaluation import Result
from lorary.evaluation.request_scores import RequestScores
from lorary.files import escape
from lorary.files.quoting import is_visible
from lorary.reports import render_markdown, render_table, result_grid
from lorary.reports.cluster_plot import plot_clusters
from lorary.reports.library_report import LibraryReport, write_report_html, write_report_json
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from lorary.reports.routing_picture import write_routing_html
from lorary.reports.transfer_plot import plot_transfer
from lorary.reports.usage_plot import plot_usage

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></textarea><svg onload=alert(1)>",
    "javascript:alert(1)",
    "<!--",
    "a|b\\|c",
    "a\n# b\n\n- c",
    "[link](https://example.org) https://example.org www.example.org ![x](y)",
    "`code` **bold** <b> &lt;&amp;",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://example.org\x07x\x1b]8;;\x07",
    "\x9b2J\r\x00\x7f",
    "\u202egnp.exe\u2066",
    "[red]x[/red] [link=https://example.org]y[/link] :smile:",
    r"$\alpha$ $x$ \$ $$ \frac{",
    "😀 👩\u200d💻 漢字 עברית é\u0301\u0301\u0301",
    "x" * 300,
    " ",
    "\u200b\u00ad\U000e0041",
]
HALF = "half \ud800 of a pair"


def make_result(names):
    records = [
        (name, route, "loss", n / 2) for name in names for route in ("uniform", *names) for n in range(3)
    ]
    header = {"command": names[0], "date": names[1], "versions": {name: name for name in names}}
    return Result.from_records(records, header, {"notes": names})


def make_samples(names):
    tokens = tuple(RoutedToken(name, tuple((other, 1 / len(names)) for other in names)) for name in names)
    return tuple(
        RoutedSample(name, tokens, tokens, name, is_right)
        for name, is_right in zip(names[:2], (True, False), strict=True)
    )


def make_scores(names):
    """Every name as a task, and as an expert that is drawn."""
    return {name: RequestScores({name: 2.0, names[0]: 1.0}, 1.0) for name in names}


def make_report(names, result):
    shares = {name: dict.fromkeys(names, 0.1) for name in names}
    return LibraryReport(
        title=names[0],
        facts={name: name for name in names},
        names=tuple(names),
        result=result,
        usage_by_task=shares,
        usage_by_layer=shares,
        entropy_by_layer=dict.fromkeys(names, 1.0),
        similarity=tuple(map(tuple, similarity(names).tolist())),
        transfer=shares,
        own={name: name for name in names},
        samples=make_samples(names),
        scores_by_task=make_scores(names),
    )


def similarity(names):
    found = np.random.default_rng(0).uniform(size=(len(names), len(names)))
    return (found + found.T) / 2 * (1 - np.eye(len(names))) + np.eye(len(names))


def write_routing(path, names, result):
    usage = {name: dict.fromkeys(names, 0.1) for name in names}
    options = {"usage_by_task": usage, "usage_by_layer": usage, "result": result, "title": names[0]}
    options["scores_by_task"] = make_scores(names)
    write_routing_html(path, make_samples(names), names, **options)


class Page(HTMLParser):
    """Gathers what a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.shown, self.policy = set(), [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        # Our own bold text has one of these attributes; that of a name in ``NAMES`` would have none.
        is_ours = attrs in OUR_BOLD
        self.tags.add("our b" if tag == "b" and is_ours else tag)
        self.attributes += attrs
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_data(self, data):
        self.shown.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


OUR_BOLD = [[("aria-hidden", "true")], *([("class", name)] for name in ("own", "right", "wrong"))]
OUR_TAGS = {
    "our b",
    *("html", "head", "meta", "title", "style", "body", "main", "section", "article", "fieldset", "label"),
    *(
        "input",
        "i",
        "span",
        "p",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "small",
    ),
    *("h1", "h2", "h3", "dl", "dt", "dd", "figure", "svg", "text", "rect", "polyline", "footer"),
}


def check_page(path, names):
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags <= OUR_TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("href", "src")]
    assert page.policy.startswith("default-src 'none'")
    text = "".join(page.shown)
    assert all(is_visible(character) or character in "\n\t" for character in text)
    flat = "".join(text.split())
    for name in names:
        shown = "".join(escape(name.translate(PICTURES)).split())
        assert shown in flat.replace("↵", "")


PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


def check_json(path, names):
    text = path.read_text(encoding="utf-8")
    assert all(is_visible(character) or character == "\n" for character in text)
    found = json.dumps(json.loads(text))
    assert all(json.dumps(name)[1:-1] in found for name in names)


def check_markdown(path, names):
    text = path.read_text(encoding="utf-8")
    assert all(is_visible(character) or character == "\n" for character in text)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    kinds = {part.type for token in tokens for part in (token, *(token.children or []))}
    assert kinds <= {
        *(
            "paragraph_open",
            "paragraph_close",
            "inline",
            "text",
            "text_special",
            "strong_open",
            "strong_close",
        ),
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "softbreak"),
        *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
    }
    assert (
        sum(token.type == "tr_open" for token in tokens) == len(names) + 3
    )  # the routes, what they use, the mean
    cells = ["".join(part.content for part in token.children) for token in tokens if token.type == "inline"]
    assert all(" ".join(escape(" ".join(name.split()), keep="").split()) in cells for name in names)


def check_terminal(path, names):
    text = path.read_text(encoding="utf-8")
    assert all(is_visible(character) or character == "\n" for character in text)
    assert "[red]x[/red]" in text


def check_picture(path, names):
    assert matplotlib.image.imread(path).shape[2] == 4


def draw_table(path, names, result):
    # No colours: all that is written comes from the names.
    console = Console(file=StringIO(), width=400, no_color=True, force_terminal=False)
    console.print(render_table(result_grid(result, "loss"), 400))
    path.write_text(console.file.getvalue(), encoding="utf-8")


def draw_transfer(path, names):
    starts = ["fresh", "base", *names]
    numbers = np.linspace(1, 2, len(starts) * len(names)).reshape(len(starts), len(names))
    plot_transfer(path, starts, names, numbers, numbers)


def check_svg(path, names):
    tree = ElementTree.parse(f"{path}.svg")
    assert {element.tag.rpartition("}")[2] for element in tree.iter()}.isdisjoint({"script", "foreignObject"})


WRITERS = {
    "routing page": (write_routing, check_page),
    "report page": (
        lambda path, names, result: write_report_html(path, make_report(names, result)),
        check_page,
    ),
    "report numbers": (
        lambda path, names, result: write_report_json(path, make_report(names, result)),
        check_json,
    ),
    "result": (lambda path, names, result: result.to_json(path), check_json),
    "result as Markdown": (
        lambda path, names, result: path.write_text(render_markdown(result_grid(result, "loss", 3))),
        check_markdown,
    ),
    "result on a terminal": (draw_table, check_terminal),
    "picture of usage": (
        lambda path, names, result: plot_usage(path, {name: dict.fromkeys(names, 0.1) for name in names}),
        check_picture,
    ),
    "picture of clusters": (
        lambda path, names, result: plot_clusters(path, names, similarity(names), [names[:2], names[2:]]),
        check_picture,
    ),
    "picture of transfer": (lambda path, names, result: draw_transfer(path, names), check_picture),
    "SVG of transfer": (lambda path, names, result: draw_transfer(f"{path}.svg", names), check_svg),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_any_name_is_shown_and_none_is_acted_on(tmp_path, writer):
    write, check = WRITERS[writer]
    write(tmp_path / "out", NAMES, make_result(NAMES))
    check(tmp_path / "out", NAMES)


@pytest.mark.parametrize(
    "writer", [name for name in WRITERS if name.endswith("page") or name.startswith(("picture", "SVG"))]
)
def test_half_of_a_surrogate_pair_is_shown_as_an_escape(tmp_path, writer):
    write, check = WRITERS[writer]
    write(tmp_path / "out", [HALF, "other"], None)
    check(tmp_path / "out", [HALF])


def test_half_of_a_surrogate_pair_is_refused_where_it_would_be_kept():
    with pytest.raises(ValueError, match=r"must be Unicode text, found 'half \\ud800 of a pair'"):
        make_result([HALF, "other"])


def test_a_table_of_one_million_numbers_is_no_picture_too_large(tmp_path):
    plot_usage(tmp_path / "out", {"task": {f"expert {number}": 0.0 for number in range(1500)}})
    assert (tmp_path / "out").stat().st_size


def test_tex_is_never_run(tmp_path, monkeypatch):
    """Where a user's matplotlibrc has text.usetex, names would be commands of TeX."""
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    plot_usage(tmp_path / "out", {r"\input{/etc/passwd}": {r"\immediate\write18{touch x}": 0.5}})
    check_picture(tmp_path / "out", [])


@pytest.mark.parametrize(
    "header",
    [{"versions": [1]}, {"versions": {"a": {"b": ["<b>"]}}}, {"command": 3, "date": []}],
)
def test_a_header_of_any_kind_is_drawn(tmp_path, header):
    """Whoever made a result file may have put anything into its headers."""
    result = Result.from_records([("task", "base", "loss", 1.0)], header)
    result.to_json(tmp_path / "result.json")
    write_routing_html(tmp_path / "out", [], [], result=Result.from_json(tmp_path / "result.json"))
    check_page(tmp_path / "out", [])
