import yaml

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
