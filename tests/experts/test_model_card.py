import ast

import pytest
import yaml
from markdown_it import MarkdownIt

from lorary.experts.model_card import render_model_card


def test_the_page_tells_what_is_known(make_expert):
    page = render_model_card(
        make_expert(
            description="Writes verse.",
            tasks=("haiku", "sonnets"),
            parents=("prose",),
            scores={"loss": 1.25},
            provenance={"seed": 7},
            base_revision="v1",
        )
    )
    for text in (
        "# poetry\n\nWrites verse.",
        "- Base model: org/base",
        "- Base revision: v1",
        "- Tasks: haiku, sonnets",
        "- Parents: prose",
        "rank 2, 2 modules, 56 numbers",
        "| loss | 1.25 |",
        '"seed": 7',
        'AutoModelForCausalLM.from_pretrained("org/base")',
    ):
        assert text in page


def test_what_is_unknown_is_left_out(make_expert):
    page = render_model_card(make_expert(base_model=""))
    assert "base_model" not in yaml.safe_load(page.split("---")[1])
    for text in ("Tasks", "Parents", "Scores", "Provenance", "revision"):
        assert text not in page


def test_no_tag_can_break_out_of_the_front_matter(make_expert):
    page = render_model_card(make_expert(base_model='a"\nlicense: x', tags=("- b: c\n---\n", "lora")))
    front = yaml.safe_load(page.split("\n---\n")[0].removeprefix("---\n"))
    assert front["base_model"] == 'a"\nlicense: x'
    assert front["tags"] == ["lora", "lorary", "- b: c\n---\n"]


HOSTILE = [
    "<script>alert(1)</script>",
    "[x](https://evil.example) ![y](https://evil.example/p.png)",
    "a | b",
    "```\n# out\n```",
    "x\n\n# Heading\n- item",
    "---\nlicense: x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_field_of_a_card_can_be_more_than_text(make_expert, text):
    """Guards against a downloaded expert whose page runs scripts or links elsewhere once it is shown."""
    page = render_model_card(
        make_expert(
            base_model=text,
            description=text,
            tasks=(text, text),
            tags=(text,),
            parents=(text,),
            scores={text: 1.5},
            provenance={text: [text]},
            base_revision=text,
        )
    )
    tokens = MarkdownIt("commonmark").enable("table").parse(page.split("\n---\n", 1)[1])
    kinds = [child.type for token in tokens for child in token.children or ()]
    assert set(kinds) <= {"text", "text_special", "softbreak"}
    assert sum(token.type == "heading_open" for token in tokens) == 4
    assert [token.info for token in tokens if token.type == "fence"] == ["python", "python", "json"]
    assert sum(token.type == "tr_open" for token in tokens) == 2
    assert sum(token.type == "list_item_open" for token in tokens) == 5
    assert not any(token.type == "html_block" for token in tokens)
    front = yaml.safe_load(page.split("\n---\n")[0].removeprefix("---\n"))
    assert (front["base_model"], front["tags"][-1]) == (text, text)


@pytest.mark.parametrize("base", ["org/basé", "😀", 'a"b\\c', "\x9b\u202e\x7f\ufeff"])
def test_yaml_and_python_both_read_the_base_model_s_name(make_expert, base):
    page = render_model_card(make_expert(base_model=base))
    assert yaml.safe_load(page.split("\n---\n")[0].removeprefix("---\n"))["base_model"] == base
    (call,) = [line for line in page.splitlines() if "AutoModelForCausalLM.from_pretrained(" in line]
    assert ast.literal_eval(call.split("from_pretrained(")[1].removesuffix(")")) == base


def test_a_page_holds_no_control_characters(make_expert):
    hostile = "\x1b]0;title\x07 \u202e"
    page = render_model_card(make_expert(description=hostile, provenance={hostile: hostile}, tags=(hostile,)))
    assert page.replace("\n", "").isprintable()
