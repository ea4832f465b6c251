import random

import pytest
from markdown_it import MarkdownIt

from lorary.files import escape_markdown
from lorary.files.markdown import fence

PAGE = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "<script>alert(1)</script>",
    "<!-- hidden",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "<https://evil.example>",
    "[x]: https://evil.example",
    "a | b | c",
    "`code` ``x`` ```",
    "```python",
    "~~~",
    "~~gone~~",
    "**bold** __bold__ *i* _i_",
    "# heading #",
    "- item",
    "+ item",
    "1. item",
    "١. item",
    "12) item",
    "---",
    "===",
    "> quoted",
    "&lt;b&gt; &#60; &copy;",
    "\\<b> \\\\* ends with \\",
    "C:\\models\\base",
    "arc_easy v1.2 (75%)",
    "-",
    "x" * 500,
]


def read_inline(page):
    """Give the one line of text that a page shows, and the kinds of all that it is made of."""
    tokens = PAGE.parse(page)
    (inline,) = [token for token in tokens if token.type == "inline" and token.content]
    kinds = {token.type for token in inline.children}
    return "".join(child.content for child in inline.children), kinds


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(("before", "opening"), [("", "paragraph_open"), ("# ", "heading_open")])
def test_a_text_is_shown_as_it_is_and_is_nothing_else(text, before, opening):
    page = before + escape_markdown(text)
    assert PAGE.parse(page)[0].type == opening
    assert read_inline(page)[0] == text
    assert read_inline(page)[1] <= {"text", "text_special"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_in_its_cell_and_its_item(text):
    table = PAGE.parse(f"| name | value |\n|---|---|\n| {escape_markdown(text)} | 1 |\n")
    cells = ["".join(part.content for part in token.children) for token in table if token.type == "inline"]
    assert cells == ["name", "value", text, "1"]
    item = PAGE.parse(f"- Tasks: {escape_markdown(text)}\n")
    assert [token.type for token in item].count("list_item_open") == 1
    assert [token.type for token in item if token.type.startswith(("fence", "html", "code"))] == []


def test_any_text_of_markdowns_own_characters_is_shown_as_it_is():
    draw = random.Random(7)
    for _ in range(3000):
        words = [
            "".join(draw.choices("ab1.)(<>[]!`*_~#|&;:/\\-+={}$^\"'@w", k=draw.randint(1, 9)))
            for _ in range(draw.randint(1, 4))
        ]
        text = " ".join(words)
        assert read_inline(escape_markdown(text)) in [
            (text, {"text"}),
            (text, {"text", "text_special"}),
            (text, {"text_special"}),
        ], text


def test_it_is_one_line_without_control_characters():
    assert escape_markdown(" two\nlines\r\n\tand\u2028more ") == "two lines and more"
    assert escape_markdown("\x1b]0;title\x07 \u202eright \ud800 \0") == (
        r"\\x1b\]0;title\\x07 \\u202eright \\ud800 \\x00"
    )
    assert escape_markdown(" \n ") == ""


def test_nothing_becomes_a_link_by_itself():
    assert escape_markdown("https://a.b WWW.x") == r"https\://a.b WWW\.x"


def test_plain_words_stay_readable():
    assert (
        escape_markdown("Writes verse, (mostly) good: 75% of it.")
        == "Writes verse, (mostly) good: 75% of it."
    )


@pytest.mark.parametrize("text", ["plain", "```\n<b>out</b>\n```", "`````\nx", "~~~\nx", "", "a\n    b"])
def test_nothing_ends_a_block_of_code_but_its_end(text):
    (block,) = PAGE.parse(fence(text, "json"))
    assert (block.type, block.info, block.content) == ("fence", "json", text + "\n")


def test_a_block_of_code_holds_no_control_characters():
    assert fence("a\x1b[2Jb\u202e") == "```\na\\x1b[2Jb\\u202e\n```\n"
