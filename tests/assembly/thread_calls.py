"""What threads ask of one model at once, by every public name."""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

NUM_THREADS = 3


ROUNDS = 6


PROMPTS = ["morse: ...", "2024-02", "price"]


ROUTERS = ["arrow", "uniform", "calibrated"]


NAMES = ["dates", "morse", "prices"]


TASKS = ("rhymes", "sums", "tea")


def read(model, number, **inputs):
    ids = torch.tensor([[number + 5, 9, number + 30, 7]])
    with torch.no_grad():
        return model(input_ids=ids, **inputs).logits


def read_routed(model, number):
    with model.routed(ROUTERS[number], combine=["outputs", "factors"][number % 2]):
        kept = model.routing[0], model.decider is not None
        return [read(model, number), kept, model.generate(PROMPTS[number], max_new_tokens=3)]


def read_assigned(model, number):
    with model.assign([NAMES[number]]):
        return read(model, number)


def read_passed(model, number):
    """One call has several choosers, and each thread others."""
    mine = [NAMES[number], {NAMES[number]: 0.5, "morse": 0.25}, model.router(ROUTERS[number]), None]
    mine.append({"task": TASKS[number]})
    answers = model.generate([PROMPTS[number]] * 5, experts=mine, max_new_tokens=3)
    return [answers, *(read(model, number, experts=choice) for choice in mine)]


def read_nested(model, number):
    with model.routed(ROUTERS[number]):
        outer = read(model, number)
        inner = read_assigned(model, number)
        return [outer, inner, torch.equal(outer, read(model, number))]


def provide(model, number):
    width = {path: layer.a.shape[2] for path, layer in model.stack.layers.items()}
    chance = torch.Generator().manual_seed(3)
    means = {path: torch.randn(len(model.names), size, generator=chance) for path, size in width.items()}
    model.provide(means=means)
    with model.routed("mean_activation"):
        return read(model, number)


def set_router(model, number):
    """One sets routers; what the others are answered comes from one of them, at all layers."""
    if number == 0:
        for router in ROUTERS:
            model.set_router(router)
        return None
    routed = []
    for router in ROUTERS:
        with model.routed(router):
            routed.append(read(model, number))
    found = read(model, number)
    return any(torch.equal(found, each) for each in routed)


def grow(model, number):
    """One adds an expert and removes it; the others are answered by all experts, or by all but that one."""
    if number == 0:
        name = "late"
        model.add_expert(model.late)
        assert name in model.names
        model.remove_expert(name)
        return None
    with model.routed("uniform"):
        few, whole = len(model.names), read(model, number)
        assert len(model.explain(PROMPTS[0]).experts) == few
    assert torch.isfinite(whole).all()
    return [read_assigned(model, number), model.controls]


def detach(model, number):
    """One takes the experts off while the others are answered by theirs."""
    if number == 0:
        model.detach()
        return None
    try:
        return read_assigned(model, number)
    except ValueError:  # they were detached
        return None


def explain(model, number):
    with model.routed(ROUTERS[number]):
        return [model.explain(PROMPTS[number]).weights, model.explain(PROMPTS[0], 2).weights]


def save(model, number):
    """The skills of these models are experts too, which a folder cannot say: each thread is refused alike."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save_pretrained(folder)
        except ValueError as refused:
            return [str(refused), *(path.name for path in Path(folder).iterdir())]


def move(model, name, number):
    """One moves the model, and back; the others are answered by one that is in one dtype."""
    if number == 0:
        getattr(model, name)(*([torch.float64] if name == "to" else []))
        model.to(torch.float32)
        return None
    return torch.isfinite(read_assigned(model, number)).all()


def move_to_gpu(model, number):
    try:
        return model.cuda("cuda:99")
    except ValueError as refused:
        return str(refused)


# Public name -> what a thread of this number asks of the model with it.
CALLS = {
    "__call__": read,
    "add_expert": grow,
    "assign": read_assigned,
    "controls": lambda model, number: model.controls,
    "decider": read_routed,
    "detach": detach,
    "explain": explain,
    "general": lambda model, number: model.general,
    "generate": lambda model, number: model.generate(PROMPTS[number:], max_new_tokens=4),
    "config": lambda model, number: model.config.hidden_size,
    "device": lambda model, number: model.device,
    "dtype": lambda model, number: model.dtype,
    "generation_config": lambda model, number: model.generation_config.do_sample,
    "input_modalities": lambda model, number: model.input_modalities,
    "output_modalities": lambda model, number: model.output_modalities,
    "can_generate": lambda model, number: model.can_generate(),
    "to": lambda model, number: move(model, "to", number),
    "float": lambda model, number: move(model, "float", number),
    "half": lambda model, number: move(model, "half", number),
    "bfloat16": lambda model, number: move(model, "bfloat16", number),
    "cpu": lambda model, number: model.cpu().device,
    "cuda": move_to_gpu,
    "save_pretrained": save,
    "eval": lambda model, number: model.eval().model.training,
    "model": lambda model, number: type(model.model),
    "nearest_tasks": lambda model, number: model.nearest_tasks(PROMPTS[number:]),
    "names": lambda model, number: model.names,
    "provide": provide,
    "remove_expert": grow,
    "routed": read_nested,
    "router": read_passed,
    "routing": read_routed,
    "set_router": set_router,
    "stack": lambda model, number: [read_assigned(model, number), model.stack.names],
    "tasks": lambda model, number: [model.tasks, read(model, number, experts={"task": TASKS[number]})],
    "tokenizer": lambda model, number: model.tokenizer(PROMPTS[number])["input_ids"],
}


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def run_at_once(do, rounds=ROUNDS):
    """Call ``do(number)`` in several threads at once, many times; the answers of each thread."""
    start = threading.Barrier(NUM_THREADS)

    def repeat(number):
        answers = []
        for _ in range(rounds):
            start.wait(60)
            try:
                answers.append(do(number))
            except BaseException as error:
                answers.append(error)
        return answers

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(repeat, range(NUM_THREADS)))
