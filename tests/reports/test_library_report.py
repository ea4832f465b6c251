import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import nan

import pytest

from lorary.evaluation import Result
from lorary.evaluation.request_scores import RequestScores
from lorary.reports.library_report import LibraryReport, write_report_html, write_report_json
from lorary.reports.routed_sample import RoutedSample, RoutedToken

NAMES = ("dates", "morse", "plurals")
SHARES = {"dates": 0.5, "morse": 0.3, "plurals": 0.2}
HEADINGS = (
    "Results",
    "Paired differences",
    "Experts by task",
    "Experts",
    "Experts by layer",
    "Entropy of the routing by layer",
    "Token by token",
    "Transfer: expert by task",
    "Similarity of experts",
)
VOID_TAGS = {"meta", "input", "polyline"}


class Page(HTMLParser):
    """Reads a page: its headings, and whether every tag is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture
def report() -> LibraryReport:
    """Every part of a report, of three experts and one task."""
    scores = {("dates", route, "loss"): (1.0, 2.0 + place) for place, route in enumerate(("base", "uniform"))}
    token = RoutedToken("When", tuple(SHARES.items()))
    return LibraryReport(
        title="Our experts",
        facts={"router": "arrow <top 4>"},
        names=NAMES,
        result=Result(scores),
        usage_by_task={"dates": SHARES},
        usage_by_layer={"0": SHARES, "1": SHARES},
        entropy_by_layer={"0": 1.0, "1": 0.5},
        similarity=((1.0, 0.5, 0.1), (0.5, 1.0, -0.2), (0.1, -0.2, 1.0)),
        transfer={"dates": {"dates": -2.0, "morse": -1.0, "plurals": 0.5}},
        own={"dates": "dates"},
        samples=(RoutedSample("dates", (token,), (token,)),),
    )


@pytest.fixture
def write(tmp_path):
    """Writes a report; returns its text, after looking whether its tags are in order."""

    def write(report):
        write_report_html(tmp_path / "report.html", report)
        text = (tmp_path / "report.html").read_text()
        assert Page(text).open == []
        return text

    return write


def test_a_full_report_has_every_part(report, write):
    assert tuple(Page(write(report)).headings) == HEADINGS


def test_a_router_that_chooses_per_request_has_its_scores_and_no_equal_bars_for_all_layers(report, write):
    scores = RequestScores({"morse": 2.5, "dates": 0.75, "plurals": -0.5}, 3.0)
    asked = replace(report, usage_by_layer={}, entropy_by_layer={}, scores_by_task={"dates": scores})
    text = write(asked)
    headings = Page(text).headings
    assert "Experts by layer" not in headings and "Entropy of the routing by layer" not in headings
    assert headings.index("Experts") < headings.index("Scores of the first experts")
    assert "margin 3.00" in text
    bars = re.findall(r'<dd class="x(\d)"><i style="width:([\d.]+)%">', text)
    assert bars == [("1", "100.0"), ("0", "30.0"), ("2", "0.0")]
    assert '<b class="own">dates</b>' in text and text.count('<b class="own">') == 1
    with pytest.raises(ValueError, match="task 'dates' uses an expert 'dtes' that is not in names"):
        write(replace(asked, scores_by_task={"dates": RequestScores({"dtes": 1.0}, 0.0)}))
    with pytest.raises(ValueError, match="the score of expert 'dates' must be finite, found nan"):
        write(replace(asked, scores_by_task={"dates": RequestScores({"dates": nan}, 0.0)}))


def test_maps_say_the_range_of_their_colours(report, write):
    text = write(report)
    assert "No cosine is larger than 0.5, which has the full colour" in text
    assert "<span>-50%</span>" in text and "<span>0%</span>" in text
    strong = ((1.0, 0.9, 0.1), (0.9, 1.0, -0.2), (0.1, -0.2, 1.0))
    text = write(replace(report, similarity=strong))
    assert "A cosine of 1 has the full colour." in text and 'class="h9" title="dates: morse' in text


def test_the_routes_are_explained_below_the_results(report, write):
    scores = {("dates", route, "loss"): (1.0, 2.0) for route in ("base", "random", "uniform", "oracle")}
    text = write(replace(report, result=Result({**scores, ("dates", "calibrated", "loss"): (1.0, 1.0)})))
    assert "base: the base model alone; random: an expert with random weights" in text
    assert "uniform: all experts with equal weights; oracle: each task&#x27;s own expert" in text
    assert "calibrated: the default router." in text


def test_parts_that_are_missing_leave_no_trace(report, write):
    bare = LibraryReport(title="Nothing", facts={}, names=NAMES)
    text = write(bare)
    assert Page(text).headings == []
    assert "<section" not in text


def test_nothing_is_fetched_run_or_left_unescaped(report, write):
    text = write(replace(report, title="</title><script>alert(1)</script>"))
    assert "<script" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert "arrow &lt;top 4&gt;" in text


def test_less_loss_is_blue_and_a_task_frames_its_own_expert(report, write):
    text = write(report)
    assert 'class="h10 own" title="dates: dates 2.0"' in text
    assert 'title="dates: plurals -0.5"' in text


def test_an_expert_has_no_cell_beside_itself_and_one_expert_alone_no_tree(report, write):
    assert 'title="dates: dates 100"' not in write(report)
    alone = replace(
        report,
        names=("dates",),
        similarity=((1.0,),),
        usage_by_task=None,
        usage_by_layer=None,
        transfer=None,
        samples=(),
    )
    assert "Similarity of experts" not in Page(write(alone)).headings


def test_differences_need_the_uniform_merge(report, write):
    only_base = Result({("dates", "base", "loss"): (1.0, 2.0)})
    assert "Paired differences" not in Page(write(replace(report, result=only_base))).headings


def test_a_similarity_of_other_experts_and_unknown_names_are_refused(report, write):
    with pytest.raises(ValueError, match=r"the similarity of 3 experts must be square, found \(2, 2\)"):
        write(replace(report, similarity=((1.0, 0.0), (0.0, 1.0))))
    with pytest.raises(ValueError, match="task 'dates' uses an expert 'dtes' that is not in names"):
        write(replace(report, usage_by_task={"dates": {"dtes": 1.0}}))


def test_the_numbers_can_be_read_by_programs(report, tmp_path):
    write_report_json(tmp_path / "report.json", report)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["usage_by_task"] == {"dates": SHARES}
    assert found["transfer"]["dates"]["plurals"] == 0.5
    assert found["similarity"][1][2] == -0.2
    assert "result" not in found


def test_routes_are_held_against_the_one_named(tmp_path, report):
    scores = {("dates", route, "loss"): (1.0, 2.0) for route in ("base", "uniform", "arrow")}
    for against, rows in ((None, ("base", "arrow")), ("base", ("uniform", "arrow"))):
        write_report_html(tmp_path / "page.html", replace(report, result=Result(scores), against=against))
        text = (tmp_path / "page.html").read_text()
        for row in rows:
            assert f"{row} minus {against or 'uniform'}" in text
