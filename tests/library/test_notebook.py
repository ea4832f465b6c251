import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library


def make_expert(name, **card):
    return Expert(name, "<base>", {"layer": Factors(torch.ones(2, 3), torch.ones(4, 2))}, ExpertCard(**card))


def test_a_notebook_shows_a_table_of_experts_and_completes_their_names(tmp_path):
    library = Library.open(tmp_path / "lib", create=True)
    library.add(make_expert("poetry", tasks=("rhymes", "<b>odes"), tags=("art",)))
    library.add(make_expert("merged", role="merge"))
    assert library._ipython_key_completions_() == ["merged", "poetry"]
    assert library.routed()._ipython_key_completions_() == ["poetry"]
    page = library._repr_html_()
    assert "2 experts" in page and page.count("<tr>") == 3
    assert "rhymes, &lt;b&gt;odes" in page and "&lt;base&gt;" in page and "<b>odes" not in page
    view = library.routed()._repr_html_()
    assert "left out: 1 merge (merged)" in view and view.count("<tr>") == 2


def test_of_many_experts_the_first_are_shown(tmp_path):
    library = Library.open(tmp_path / "lib", create=True)
    library.add_all({f"e{number:02}": make_expert(f"e{number:02}") for number in range(53)})
    page = library._repr_html_()
    assert page.count("<tr>") == 51 and "and 3 experts more" in page
