import re
from dataclasses import replace
from html.parser import HTMLParser
from math import nan

import pytest

from lorary.files import escape_html
from lorary.reports.page_style import page_style
from lorary.reports.palette import expert_shades
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from lorary.reports.routing_html import layer_chart, mean_usage
from lorary.reports.routing_picture import write_routing_html

NAMES = ["dates", "morse", "plurals"]
# Ends an attribute of either quotes, then the style sheet.
ATTACK = """x"'></style><script>alert(1)</script><img src=x onerror="alert('x')">"""
VOID_TAGS = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """Reads a page: its tags with attributes, its text, and whether every tag is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def tokens(self):
        return [
            attributes for tag, attributes in self.tags if "tok" in (attributes.get("class") or "").split()
        ]


def write_page(path, samples, names=NAMES, **options) -> Page:
    write_routing_html(path, samples, names, **options)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.fixture
def sample() -> RoutedSample:
    return RoutedSample(
        task="dates",
        prompt=(RoutedToken("When", (("morse", 0.2), ("dates", 0.8))), RoutedToken("?\n", ())),
        answer=(
            RoutedToken(" 1879", (("dates", 0.6), ("plurals", 0.4))),
            RoutedToken("-03", (("plurals", 1.0),)),
        ),
    )


def test_a_token_has_the_colour_of_its_greatest_expert_and_all_shares_in_its_tooltip(sample, tmp_path):
    tokens = write_page(tmp_path / "page.html", [sample]).tokens()
    assert [token["class"] for token in tokens] == ["tok x0", "tok", "tok x0", "tok x2"]
    assert [token["title"] for token in tokens] == [
        "dates 80%, morse 20%",
        "base model alone",
        "dates 60%, plurals 40%",
        "plurals 100%",
    ]


def test_the_colour_of_a_token_is_as_strong_as_the_share(sample, tmp_path):
    tokens = write_page(tmp_path / "page.html", [sample]).tokens()
    assert [token.get("style") for token in tokens] == ["--p:80%", None, "--p:60%", "--p:100%"]


@pytest.mark.parametrize(("is_right", "shown"), [(True, "✓ right"), (False, "✗ wrong"), (None, "")])
def test_a_sample_shows_the_right_answer_and_whether_the_given_one_is_right(
    sample, tmp_path, is_right, shown
):
    judged = replace(sample, right="1879-03 <14>\nor so", is_right=is_right)
    page = write_page(tmp_path / "page.html", [judged])
    assert f"Answer{' ' if shown else ''}{shown}" in page.text
    assert [mark for mark in ("✓ right", "✗ wrong") if mark in page.text] == ([shown] if shown else [])
    assert "Right answer1879-03 <14>↵\nor so" in page.text


def test_the_legend_stands_before_the_first_coloured_part(sample, tmp_path):
    page = write_page(tmp_path / "page.html", [sample], usage_by_layer={"0": {"dates": 1.0}})
    assert page.text.index("The colours of the experts") < page.text.index("Token by token")


def test_the_answer_says_how_much_of_it_each_expert_had(sample, tmp_path):
    page = write_page(tmp_path / "page.html", [sample])
    assert "Answer: plurals 70%, dates 30%" in page.text
    assert mean_usage(sample.answer) == pytest.approx({"plurals": 0.7, "dates": 0.3})


def test_the_heat_map_holds_every_share_and_frames_the_own_expert(sample, tmp_path):
    usage = {"dates": {"dates": 0.7, "morse": 0.3}, "other": {"plurals": 0.004}}
    page = write_page(tmp_path / "page.html", [], usage_by_task=usage)
    cells = {a["title"]: a["class"] for tag, a in page.tags if tag == "td"}
    assert cells == {
        "dates: dates 70.0%": "h7 own",
        "dates: morse 30.0%": "h3",
        "dates: plurals 0.0%": "h0 nil",
        "other: dates 0.0%": "h0 nil",
        "other: morse 0.0%": "h0 nil",
        "other: plurals 0.4%": "h0 nil",
    }


def test_the_bars_of_a_layer_fill_its_height_in_proportion():
    chart = layer_chart({"layers.0": {"dates": 1.0, "morse": 3.0}, "layers.1": {}}, NAMES)
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', chart)]
    assert heights[1] == pytest.approx(3 * heights[0])
    assert "<title>layers.0: morse 75%</title>" in chart


def test_the_page_shows_the_results_on_top(small_result, sample, tmp_path):
    page = write_page(tmp_path / "page.html", [sample], result=small_result)
    assert page.text.index("mean of 2 tasks") < page.text.index("Token by token")
    assert "2026-01-01" in page.text


def test_the_page_needs_nothing_from_outside_and_runs_nothing(small_result, sample, tmp_path):
    path = tmp_path / "page.html"
    page = write_page(
        path,
        [sample],
        result=small_result,
        usage_by_task={"d": {"dates": 1.0}},
        usage_by_layer={"0": {"dates": 1.0}},
    )
    attributes = {name for _, found in page.tags for name in found}
    assert not attributes & {"src", "href", "srcset", "data", "action"}
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"}
    text = path.read_text()
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert "default-src 'none'" in text
    assert "width=device-width" in text and "prefers-color-scheme:dark" in text


def test_text_from_outside_stays_text_wherever_it_stands(tmp_path):
    names = [ATTACK, "dates"]
    token = RoutedToken(ATTACK, ((ATTACK, 1.0),))
    page = write_page(
        tmp_path / "page.html",
        [RoutedSample(ATTACK, (token,), (token,))],
        names,
        usage_by_task={ATTACK: {ATTACK: 1.0}},
        usage_by_layer={ATTACK: {ATTACK: 1.0}},
        title=ATTACK,
    )
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not {name for _, found in page.tags for name in found if name.startswith("on")}
    assert page.text.count(ATTACK) >= 7


def test_no_name_reaches_the_style_sheet():
    assert page_style(expert_shades([ATTACK])) == page_style(expert_shades(["dates"]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#x27;"),
        ("\x00\x1b\x7f\x9b", "\u2400\u241b\u2421\\x9b"),
        ("\ud800\u202e", "\\ud800\\u202e"),
        ("é\n", "é\n"),
    ],
)
def test_any_text_can_be_shown(text, shown):
    assert escape_html(text) == shown


def test_a_token_without_text_is_still_seen(tmp_path):
    page = write_page(tmp_path / "page.html", [RoutedSample("t", (RoutedToken(""), RoutedToken("a\nb")), ())])
    assert "▯" in page.text
    assert "a↵\nb" in page.text


def test_a_short_legend_is_whole_and_a_long_one_holds_only_leading_experts(sample, tmp_path):
    def legend(names):
        page = write_page(tmp_path / "page.html", [sample], names)
        return [found["title"] for tag, found in page.tags if tag == "label" and "title" in found]

    assert legend(NAMES) == NAMES
    assert legend([*NAMES, *(f"other-{index}" for index in range(20))]) == ["dates", "plurals"]


def test_an_expert_outside_the_names_is_refused(sample, tmp_path):
    path = tmp_path / "page.html"
    with pytest.raises(
        ValueError, match="a sample of task 'dates' uses an expert 'plurals' that is not in names"
    ):
        write_routing_html(path, [sample], ["dates", "morse"])
    with pytest.raises(ValueError, match=r"layer '3' uses an expert 'date' .* did you mean 'dates'"):
        write_routing_html(path, [], NAMES, usage_by_layer={"3": {"date": 1.0}})
    assert not path.exists()


@pytest.mark.parametrize("share", [nan, -0.1])
def test_a_share_that_cannot_be_is_refused(share, tmp_path):
    with pytest.raises(ValueError, match=f"task 't': the share of expert 'dates' must be .* found {share!r}"):
        write_routing_html(tmp_path / "page.html", [], NAMES, usage_by_task={"t": {"dates": share}})


def test_a_name_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found more than once: \['dates'\]"):
        write_routing_html(tmp_path / "page.html", [], ["dates", "dates"])
