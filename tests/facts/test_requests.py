import pytest
import torch

from lorary.facts.requests import Requests, cut_passes, list_prompts, pad_prompts

PROMPTS = [[5, 6, 7], [8], [9, 10]]


def test_prompts_are_padded_on_the_right_and_found_again():
    found = pad_prompts(PROMPTS, torch.device("cpu"))
    assert found.inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert found.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert found.cells.tolist() == [0, 1, 2, 3, 6, 7]
    assert found.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.token_ids() == PROMPTS


@pytest.mark.parametrize(
    ("skip_first", "expected"),
    [(False, [6.0, 8.0, 9.5]), (True, [6.5, 8.0, 10.0])],
)
def test_averages_are_those_of_each_prompts_own_tokens(skip_first, expected):
    found = pad_prompts(PROMPTS, torch.device("cpu"))
    averages = found.weigh_cells(skip_first) @ found.inputs["input_ids"].flatten().float()
    torch.testing.assert_close(averages, torch.tensor(expected))


@pytest.mark.parametrize(
    ("most", "places"), [(1, [9]), (2, [5, 9]), (3, [3, 6, 9]), (9, range(1, 10)), (20, range(1, 10))]
)
def test_so_many_tokens_are_averaged_at_most_evenly_spaced_with_the_last(most, places):
    prompts = [list(range(10)), [3], [4, 5]]
    found = pad_prompts(prompts, torch.device("cpu"))
    weights = found.weigh_cells(skip_first=True, last_share=0.25, most_tokens=most).unflatten(1, (3, 10))
    expected = torch.zeros(3, 10)
    expected[0, list(places)] = 0.75 / len(places)
    expected[0, 9] += 0.25
    expected[1, 0] = expected[2, 1] = 1.0
    torch.testing.assert_close(weights[range(3), range(3)], expected)
    assert weights.count_nonzero() == expected.count_nonzero()


def test_prompts_may_share_cells():
    requests = Requests(
        inputs={"input_ids": torch.tensor([[1, 2, 3, 4]])},
        cells=torch.tensor([0, 1, 2, 0, 1, 3]),
        owner=torch.tensor([0, 0, 0, 1, 1, 1]),
        count=2,
    )
    assert requests.token_ids() == [[1, 2, 3], [1, 2, 4]]
    expected = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5]])
    assert torch.equal(requests.weigh_cells(skip_first=True), expected)


def test_a_batch_gives_back_its_prompts_whatever_side_is_padded():
    input_ids = torch.tensor([[0, 0, 5], [6, 7, 0], [8, 9, 10]])
    mask = torch.tensor([[0, 0, 1], [1, 1, 0], [1, 1, 1]])
    assert list_prompts(input_ids, mask) == [[5], [6, 7], [8, 9, 10]]
    assert list_prompts(input_ids)[0] == [0, 0, 5]


@pytest.mark.parametrize("mask", [torch.ones(2, 4), torch.ones(2, 1, 3, 3)])
def test_a_mask_of_another_shape_is_refused(mask):
    with pytest.raises(
        ValueError, match=r"input_ids and attention_mask of the same shape \[B, L\], found \(2, 3"
    ):
        list_prompts(torch.ones(2, 3, dtype=torch.long), mask)


@pytest.mark.parametrize("prompts", [[], [[5], []]])
def test_an_empty_prompt_is_refused(prompts):
    with pytest.raises(ValueError, match="a prompt must have at least one token"):
        pad_prompts(prompts, torch.device("cpu"))


@pytest.mark.parametrize("tokens_per_pass", [1, 7, 12, 1000])
def test_passes_hold_everything_once_and_no_more_than_fits(tokens_per_pass):
    lengths = [5, 2, 9, 2, 4, 1]
    passes = cut_passes(lengths, tokens_per_pass)
    assert sorted(index for members in passes for index in members) == list(range(6))
    for members in passes:
        padded = len(members) * max(lengths[index] for index in members)
        assert len(members) == 1 or padded <= tokens_per_pass
