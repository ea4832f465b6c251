"""The quickstart's work: train, store, route, measure, answer, draw."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from lorary.cli.progress import show_evaluation, show_training
from lorary.cli.quickstart_steps.outcome import Outcome, save_outcome
from lorary.cli.quickstart_steps.plan import METRICS, ROUTES, QuickstartPlan
from lorary.data import Task, find_template, mix_tasks
from lorary.data.generated import generate_tasks
from lorary.evaluation import (
    EvalConfig,
    Result,
    RoutedSample,
    RoutedToken,
    evaluate,
    find_routes,
    plot_usage,
    write_routing_html,
)

if TYPE_CHECKING:
    from lorary.assembly import RoutedModel
    from lorary.library import Library
    from lorary.models import BaseModel

TEMPLATE = find_template("plain")
NUM_ANSWERS = 4
NUM_TRACED = 4
ANSWER_TOKENS = 32


def make_outcome(plan: QuickstartPlan, out: Path, *, fresh: bool) -> Outcome:
    """Do everything; what was trained already is taken up, unless ``fresh``."""
    console = Console(stderr=True)
    begun = time.monotonic()
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    with console.status("loading the base model (the first time, its weights are unpacked: half a minute)"):
        from lorary.models import load_base

        base = load_base(plan.base)
    tasks = generate_tasks(
        plan.tasks, seed=plan.seed, train=plan.max_steps * plan.batch_size, validation=0, test=plan.num_tests
    )
    model = _build_model(plan, base, tasks, out)
    with show_evaluation(f"comparing {len(ROUTES)} ways of answering") as show:
        result = evaluate(
            model,
            tasks,
            find_routes(ROUTES, model, {name: name for name in tasks}),
            TEMPLATE,
            EvalConfig(
                metrics=METRICS, num_examples=plan.num_tests, max_new_tokens=ANSWER_TOKENS, batch_size=32
            ),
            on_progress=show,
        )
    with console.status("tracing tokens through the experts"):
        samples = tuple(_answer(model, tasks[name]) for name in list(tasks)[:NUM_ANSWERS])
        _draw(model, tasks, result, samples, out)
    outcome = Outcome(result, samples, time.monotonic() - begun)
    save_outcome(plan, outcome, out)
    return outcome


def _build_model(plan: QuickstartPlan, base: "BaseModel", tasks: dict[str, Task], out: Path) -> "RoutedModel":
    from lorary.assembly import load_model
    from lorary.transforms import random_expert

    what = f"training {len(tasks)} experts at once"
    experts = _train(plan, base, tasks, plan.max_steps, what, out / "library")
    together = {"multi-task": mix_tasks(tasks, "multi-task")}
    controls = _train(
        plan, base, together, plan.multi_task_steps, "training one on all tasks", out / "controls"
    )
    everyone = {name: controls[name] for name in controls} | {"random": random_expert(experts, plan.seed)}
    return load_model(base, experts, controls=everyone)


def _train(
    plan: QuickstartPlan, base: "BaseModel", tasks: dict[str, Task], steps: int, what: str, url: Path
) -> "Library":
    from lorary.library import Library
    from lorary.training import TrainConfig, prepare_examples, train_experts

    config = TrainConfig(
        max_steps=steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        num_slots=len(tasks),
        seed=plan.seed,
    )
    examples = prepare_examples(base.tokenizer, tasks, TEMPLATE)
    with show_training(what) as show:
        outcome = train_experts(base, examples, config, url.with_name(f"{url.name}-run"), on_progress=show)
    library = Library.open(str(url), create=True)
    for name, expert in outcome.experts.items():
        library[name] = expert
    return library


def _answer(model: "RoutedModel", task: Task) -> RoutedSample:
    """Let the routed model answer a test question, and trace question and answer through the experts."""
    prompt = TEMPLATE.render(task, task.split("test")[0], model.tokenizer)
    answer = str(model.generate(prompt, max_new_tokens=ANSWER_TOKENS)).strip("\n").partition("\n")[0]
    traced = _trace(model, prompt + answer)
    length = len(model.tokenizer(prompt)["input_ids"])
    return RoutedSample(task.name, traced[:length], traced[length:])


def _trace(model: "RoutedModel", text: str) -> tuple[RoutedToken, ...]:
    explanation = model.explain(text)
    return tuple(
        RoutedToken(token, tuple(zip(explanation.experts, shares, strict=True)))
        for token, shares in zip(explanation.tokens, explanation.shares_per_token().tolist(), strict=True)
    )


def _draw(
    model: "RoutedModel", tasks: dict[str, Task], result: Result, samples: tuple[RoutedSample, ...], out: Path
) -> None:
    by_task, by_layer = {}, []
    for name, task in tasks.items():
        texts = [
            TEMPLATE.render(task, example, model.tokenizer) + TEMPLATE.attach(example.targets[0])
            for example in task.split("test")[:NUM_TRACED]
        ]
        found = [model.explain(text) for text in texts]
        shares = torch.stack([explanation.shares_per_token().mean(0) for explanation in found]).mean(0)
        by_task[name] = dict(zip(model.names, shares.tolist(), strict=True))
        by_layer += [explanation.shares_per_layer() for explanation in found]
    per_module = torch.stack(by_layer).mean(0)  # [L, E]
    usage_by_layer = _merge_modules(list(found[0].layers), per_module.tolist(), model.names)
    write_routing_html(
        out / "routing.html",
        samples,
        model.names,
        usage_by_task=by_task,
        usage_by_layer=usage_by_layer,
        result=result,
    )
    plot_usage(out / "routing.png", by_task)


def _merge_modules(
    paths: list[str], rows: list[list[float]], names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Average a decoder layer's modules: 210 modules are too many to look at."""
    grouped: dict[str, list[list[float]]] = {}
    for path, row in zip(paths, rows, strict=True):
        number = next((part for part in path.split(".") if part.isdigit()), path)
        grouped.setdefault(number, []).append(row)
    return {
        number: {name: sum(row[e] for row in group) / len(group) for e, name in enumerate(names)}
        for number, group in grouped.items()
    }
