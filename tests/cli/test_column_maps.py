import pytest

from lorary.cli.column_maps import check_columns, choose_columns, read_columns, write_columns

WORDS = ["input=question,context", "target=sql", "reviews:input=review", "reviews:target=stars"]
NESTED = {
    "input": ["question", "context"],
    "target": "sql",
    "reviews": {"input": "review", "target": "stars"},
}


@pytest.mark.parametrize("given", [WORDS, NESTED])
def test_a_task_has_its_own_columns_or_those_of_all(given):
    maps = read_columns(given)
    assert choose_columns(maps, "reviews") == {"input": "review", "target": "stars"}
    everywhere = {"input": given["input"] if given is NESTED else "question,context", "target": "sql"}
    assert choose_columns(maps, "sales") == everywhere
    assert write_columns(given) == WORDS


def test_without_columns_for_all_other_tasks_have_formats():
    assert choose_columns(read_columns(None), "sales") is None and write_columns(None) == []
    assert choose_columns(read_columns(WORDS[2:]), "sales") is None


@pytest.mark.parametrize(
    "given", ["target", ["target=a", "target=b"], ["a:target=a", "a:target=b"], ["a:target"], 3, [3]]
)
def test_other_forms_are_refused(given):
    with pytest.raises(ValueError, match="columns must name each part once, as in input=question"):
        read_columns(given)


def test_columns_of_no_task_are_refused_with_the_nearest_name():
    maps = read_columns(["review:input=a", "target=b"])
    with pytest.raises(ValueError, match=r"columns has no task 'review': .*'reviews'"):
        check_columns(maps, ["reviews", "sales"])
    check_columns(read_columns(WORDS), ["reviews"])


def test_files_with_different_columns_are_read_in_one_command(lorary, tmp_path):
    """Guards columns that hold for all files of a command, also for those of known formats."""
    (tmp_path / "reviews.csv").write_text("review,stars\n" + "".join(f"good {n},{n}\n" for n in range(9)))
    (tmp_path / "sales.csv").write_text("q,sql\n" + "".join(f"sum {n},SELECT {n}\n" for n in range(9)))
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    files = [str(tmp_path / name) for name in ("reviews.csv", "sales.csv", "pairs.jsonl")]
    words = ["reviews:input=review", "reviews:target=stars", "sales:input=q", "sales:target=sql"]
    code, output, _ = lorary("data", "show", *files, "--columns", *words)
    assert code == 0 and [output.count(text) for text in ("format    columns", "format    pair")] == [2, 1]
    code, _, errors = lorary("data", "show", *files, "--columns", *words[:-1], "sale:target=sql")
    assert code == 2 and "columns has no task 'sale'" in errors and "'sales'" in errors
