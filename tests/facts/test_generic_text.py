import pytest
import torch

from lorary.facts import generic_text
from lorary.facts.generic_text import (
    CUE,
    LENGTH,
    NUM_TEXTS,
    PIECES,
    GenericRequests,
    cut_requests,
    write_texts,
)


@pytest.fixture
def written(monkeypatch):
    """Counts how often the model writes texts, here few and short ones."""
    calls = []

    def write(base, stack):
        calls.append(base.fingerprint)
        return write_texts(base, stack, num_texts=3, length=6)

    monkeypatch.setattr(generic_text, "write_texts", write)
    return calls


def test_the_base_alone_writes_equally_long_texts_by_its_own_probabilities(build_tiny_base, model):
    found = write_texts(model.base, model.stack, num_texts=400, length=5)
    assert found.shape == (400, 5)
    assert (found[:, 0] == model.tokenizer.eos_token_id).all()  # this tokenizer has no other opening
    with torch.no_grad():
        expected = build_tiny_base().model(input_ids=found[:1, :1]).logits[0, 0].softmax(-1)
    often = torch.bincount(found[:, 1], minlength=len(expected)) / len(found)
    assert (often - expected).abs().max() < 0.06
    likeliest = expected.topk(10).indices
    assert abs(float(often[likeliest].sum() - expected[likeliest].sum())) < 0.1


def test_an_end_of_text_does_not_stop_it(model):
    model.model.generation_config.eos_token_id = list(range(1, 200))
    found = write_texts(model.base, model.stack, num_texts=20, length=12)
    assert ((found[:, 1:-1] < 200) & (found[:, 1:-1] > 0)).any()
    assert (found[:, -1] > 0).any()


def test_texts_follow_the_seed_and_leave_chance_outside_alone(model):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    found = [write_texts(model.base, model.stack, num_texts=4, length=9, seed=seed) for seed in (0, 0, 5)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_a_model_that_reads_little_writes_short_texts(model):
    model.model.config.max_position_embeddings = 7
    assert write_texts(model.base, model.stack, num_texts=2, length=50).shape == (2, 7)


def test_what_the_base_writes_is_written_once_per_base(build_tiny_base, model, written):
    first = GenericRequests(model.base, model.stack)
    assert first.sequences() == first.sequences() == GenericRequests(model.base, model.stack).sequences()
    assert written == [model.base.fingerprint]
    assert GenericRequests(build_tiny_base(seed=1), model.stack).identity != first.identity
    assert first.identity["written"][1:3] == [NUM_TEXTS, LENGTH]


def test_requests_are_pieces_of_all_lengths_that_end_as_requests_do(model):
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    texts = [[0, *model.tokenizer(words)["input_ids"]] for _ in range(30)]
    found = cut_requests(model.base, texts)
    assert found == cut_requests(model.base, texts) != cut_requests(model.base, texts, seed=1)
    assert len(found) == PIECES * 30 and min(map(len, found)) > 1
    spelt = [model.tokenizer.decode(ids) for ids in found]
    assert not any(text.endswith(CUE) for text in spelt[::3])
    # This tokenizer has no chat template.
    assert all(text.endswith(CUE) for text in spelt[1::3] + spelt[2::3])
    assert len({len(ids) for ids in found}) > 10
    for index, text in enumerate(spelt):
        assert text.removesuffix(CUE) in model.tokenizer.decode(texts[index // PIECES])


def test_where_there_is_a_chat_template_every_third_request_is_a_turn_in_it(model):
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<reply>"
    texts = write_texts(model.base, model.stack, num_texts=4, length=30).tolist()
    spelt = [model.tokenizer.decode(ids) for ids in cut_requests(model.base, texts)]
    assert all(text.startswith("<user>") and text.endswith("<reply>") for text in spelt[2::3])
    assert not any("<reply>" in text for text in spelt[::3] + spelt[1::3])


def test_the_users_requests_are_taken_as_they_are(model, written):
    texts = ["short", "ab" * 600 + "c"]
    found = GenericRequests(model.base, model.stack, texts)
    assert found.sequences() == [model.tokenizer(text)["input_ids"] for text in texts]
    assert written == []
    same, other = (GenericRequests(model.base, model.stack, [*texts[:1], "ab" * 600 + end]) for end in "cd")
    assert found.identity == same.identity != other.identity


def test_a_text_of_one_token_is_refused(model):
    with pytest.raises(ValueError, match=r"a generic request must have at least two tokens .* found 'a'"):
        GenericRequests(model.base, model.stack, ["fine", "a"])
