import threading

import torch
from torch import nn

from lorary.models.per_thread import PerThread, in_this_thread


def ask(do):
    found = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()
    thread.join(10)
    return found[0]


def test_each_thread_has_a_value_of_its_own():
    value = PerThread("everybody's")
    with value.set_to("mine"):
        assert value.cell.value == "mine"
        assert ask(lambda: value.cell.value) == "everybody's"
        with value.set_to("inner"):
            assert value.cell.value == "inner"
        assert value.cell.value == "mine"
    assert value.cell.value == "everybody's"


def test_a_context_that_a_thread_left_open_is_closed_on_that_threads_value():
    value = PerThread(0)
    context = value.set_to(1)
    ask(context.__enter__)
    with value.set_to(2):
        context.__exit__(None, None, None)
        assert value.cell.value == 2


def test_a_hook_heeds_the_thread_that_made_it():
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_pre_hook(in_this_thread(lambda module, inputs: seen.append(inputs)))
    ask(lambda: layer(torch.zeros(1, 2)))
    assert not seen
    layer(torch.zeros(1, 2))
    assert len(seen) == 1
