import pytest

from lorary.data.template_names import list_arguments

GIVEN = {"messages", "tools", "add_generation_prompt", "bos_token"}


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", set()),
        ("{% if enable_thinking is defined and not enable_thinking %}x{% endif %}", {"enable_thinking"}),
        # As Llama 3: what the template itself sets where it is not given.
        ("{% if not day is defined %}{% set day = '1' %}{% endif %}{{ day }}", {"day"}),
        ("{% set text = messages[0].content %}{{ text }}", set()),
        ("{% generation %}{{ mood }}{% endgeneration %}", {"mood"}),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{% endfor %}", set()),
        ("{% macro show(value) %}{{ value }}{{ place }}{% endmacro %}{{ show(1) }}", {"place"}),
    ],
)
def test_arguments_are_the_names_that_nobody_else_gives(template, names):
    assert list_arguments([template], GIVEN) == names


def test_templates_that_cannot_be_parsed_have_unknown_arguments():
    assert list_arguments(["{% if %}"], GIVEN) is None


def test_several_templates_have_the_arguments_of_all():
    assert list_arguments(["{{ a }}", "{{ b }}"], {"b"}) == {"a"}
