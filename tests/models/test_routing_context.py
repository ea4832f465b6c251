import copy
import threading

import pytest
import torch

from lorary.models.routing_context import Call, RoutingContext


def test_each_row_of_a_batch_is_a_request():
    assert Call(None).rows_of(torch.zeros(2, 3, 5)).tolist() == [0, 0, 0, 1, 1, 1]
    assert Call(None).rows_of(torch.zeros(4, 5)).tolist() == [0, 1, 2, 3]
    assert Call(None, num_requests=2).rows_of(torch.zeros(2, 1, 5)).tolist() == [0, 1]


def test_given_rows_say_which_request_each_token_belongs_to():
    call = Call(None, rows=torch.tensor([[0, 1, 1], [2, -1, -1]]))
    assert call.rows_of(torch.zeros(2, 3, 5)).tolist() == [0, 1, 1, 2, -1, -1]
    assert call.rows_of(torch.zeros(6, 5)).tolist() == [0, 1, 1, 2, -1, -1]


def test_layers_of_one_input_shape_are_given_the_same_tensor():
    call = Call(None)
    rows = call.rows_of(torch.zeros(2, 3, 5))
    assert call.rows_of(torch.zeros(2, 3, 7)) is rows
    assert call.rows_of(torch.zeros(2, 1, 7)).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 4, 5), (3, 5)])
def test_a_batch_of_another_size_is_refused(shape):
    call = Call(None, num_requests=3 if len(shape) == 3 else 2)
    with pytest.raises(ValueError, match=r"experts were given for \d sequences, this batch has"):
        call.rows_of(torch.zeros(shape))


def test_rows_for_other_tokens_are_refused():
    with pytest.raises(ValueError, match=r"found 2 for 3 tokens: pass rows for all tokens"):
        Call(None, rows=torch.tensor([0, 1])).rows_of(torch.zeros(1, 3, 5))


def test_a_call_is_its_threads_alone_and_the_default_everybodys():
    context = RoutingContext()
    context.default = Call(None)
    seen = []
    with context.own.set_to(Call(None)):
        assert context.active is not context.default
        thread = threading.Thread(target=lambda: seen.append(context.active))
        thread.start()
        thread.join()
    assert seen == [context.default]
    assert context.active is context.default


def test_a_copy_takes_the_default_along_and_no_call():
    context = RoutingContext()
    with context.own.set_to(Call(None)):
        made = copy.deepcopy(context)
    assert made.active is made.default
