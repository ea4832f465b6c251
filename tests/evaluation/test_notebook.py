from lorary.evaluation import Result


def test_a_result_is_a_table_with_the_best_values_bold(small_result):
    assert repr(small_result) == "<Result of 2 tasks under 3 routes: loss>"
    page = small_result._repr_html_()
    assert "loss, nats per target token (lower is better)" in page
    assert page.count("<b>2.000 ± ") == 3 and "<b>1.000 ± " in page  # a tie in the last row
    assert page.count("<tr>") == 4


def test_missing_values_are_empty_and_texts_escaped(small_result):
    other = small_result.merge(Result({("<i>new", "base", "loss"): (7.0,)}))
    page = other._repr_html_()
    assert "&lt;i&gt;new" in page and "<i>new" not in page and ">7.000</td>" in page
