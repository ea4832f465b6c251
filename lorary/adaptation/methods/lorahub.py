"""LoraHub: weights of the experts, found without gradients. The new expert is their exact weighted sum."""

from collections.abc import Mapping
from pathlib import Path

from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.attached import attach_chosen
from lorary.adaptation.methods.contract import Context, NewTask, Trained
from lorary.adaptation.methods.weighted import sum_experts
from lorary.files import say_count
from lorary.training import LorahubConfig
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.lorahub_form import LorahubForm
from lorary.training.folder.run_folder import RunFolder
from lorary.training.objectives.lorahub import LorahubResult, search_with_progress
from lorary.training.progress import UnitProgress
from lorary.training.starts import hash_start


def train(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Trained]:
    """Search each task's weights, with as many tries as the budget of tokens allows.

    Each try reads all training examples. The best try is used; there is no early stopping, because later
    tries of a search are not generally worse.

    Source: LoraHub, arXiv:2307.13269.
    """
    num_tries = {name: _count_tries(task) for name, task in tasks.items()}
    found = {}
    for name, task in tasks.items():
        result, progress = _search(context, task, num_tries[name])
        expert, error = sum_experts(context, name, result.weights, "model", context.config.mixed_rank)
        found[name] = Trained(expert=expert, progress=progress, weights=result.weights, error=error)
    return found


def _count_tries(task: NewTask) -> int:
    """Return the number of tries that the budget allows.

    Raises:
        ValueError: if it does not allow any.
    """
    one = sum(map(len, task.examples.train))
    if one > task.left:
        raise ValueError(
            f"method 'lorahub' reads all {say_count(one, 'token')} of the examples of task {task.name!r} in "
            f"each try, and {task.left:,} are left of the budget: raise epochs, max_steps or max_tokens"
        )
    return task.left // one


def _search(context: Context, task: NewTask, num_tries: int) -> tuple[LorahubResult, UnitProgress]:
    config, names = context.config, list(task.chosen)
    settings = LorahubConfig(
        num_experts=None,
        num_steps=num_tries,
        limit=config.limit,
        penalty=config.penalty,
        tokens_per_pass=context.train.tokens_per_pass,
        row_length=context.train.row_length,
        seed=context.train.seed,
    )
    identity = {
        "tries": [num_tries, config.limit, config.penalty, context.train.seed],
        "base model": context.base.fingerprint,
        "experts": [[name, hash_start(context.experts[name])] for name in names],
        "examples": task.examples.digest,
    }
    place = Path(context.folder) / task.name

    def tell(step: int, loss: float) -> None:
        context.on_progress(
            AdaptEvent(
                stage=f"searching weights for {task.name}",
                num_done=step,
                num_steps=num_tries,
                losses={task.name: loss},
            )
        )

    with hold_run_folder(place), attach_chosen(context, names) as model:
        folder = RunFolder(place, identity, LorahubForm(names))
        return search_with_progress(
            model.stack, names, task.examples.train, settings, folder=folder, on_step=tell
        )
