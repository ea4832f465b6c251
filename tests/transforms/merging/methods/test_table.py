import re
from pathlib import Path

import pytest

from lorary.cli.commands.merge.options import METHODS
from lorary.transforms.merging import MERGEKIT, MERGES, merge_named
from lorary.transforms.merging.methods.core import CoreConfig
from lorary.transforms.merging.methods.table import find_rules
from lorary.transforms.merging.options import build_config


@pytest.mark.parametrize("name", MERGES)
def test_every_method_has_options_with_defaults_and_says_what_it_does(name):
    kind = merge_named(name)
    assert kind.config() == kind.config()
    text = kind.merge.__doc__
    assert "exact" in text.lower()
    assert kind.spaces and kind.min_experts >= 1


def test_every_page_and_help_text_has_the_same_number_of_methods():
    """Guards against pages that said 18, 19 and 22 methods."""
    root = Path(__file__).parents[4]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("lorary/**/*.py")]
    found = {
        (page.relative_to(root).as_posix(), int(number))
        for page in pages
        for line in page.read_text().splitlines()
        if re.search("merg", line + page.stem, re.IGNORECASE)
        for number in re.findall(r"\b(\d+) (?:merging |merge )?methods\b", line)
    }
    assert {number for _, number in found} == {len(MERGES)}
    assert {page for page, _ in found} >= {"README.md", "docs/how-to/merge.md"}
    assert len(METHODS) == len(MERGES) + 1, "help counts all but lorahub"


@pytest.mark.parametrize("name", MERGEKIT)
def test_mergekits_methods_are_methods_here(name):
    known = MERGEKIT[name]
    build_config(
        known.method,
        MERGES[known.method].config,
        {option: value for option, value in {**known.defaults, **known.fixed}.items() if option != "weight"},
    )


def test_core_has_the_rules_of_its_inner_method():
    assert find_rules("core", CoreConfig(inner="tsv")) is MERGES["tsv"]
    assert find_rules("ties", MERGES["ties"].config()) is MERGES["ties"]


def test_an_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match="merge_method must be a known method, found 'teis': did you mean 'ties'"
    ):
        merge_named("teis")
