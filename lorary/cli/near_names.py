"""Suggestions for an unknown option or command, by other tools' names, its beginning, or its spelling."""

from collections.abc import Iterable, Sequence

from lorary.errors import find_near

# Names in PEFT, transformers, axolotl and lm_eval, and in lorary.
FOREIGN = {
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_target_modules": "target_modules",
    "lr": "learning_rate",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "micro_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "base_model": "base",
    "model": "base",
    "model_name_or_path": "base",
    "data": "tasks",
    "dataset": "tasks",
    "limit": "num_examples",
    "output": "out",
    "output_dir": "out",
    "apply_chat_template": "template",
}
# Too many names begin with shorter words.
SHORTEST_BEGINNING = 3
# Names in a message.
MOST = 3


def suggest_option(option: str, known: Sequence[str], program: str) -> str:
    """Suggest known options for an unknown one, at the end of an error message.

    Args:
        option: its name, without dashes; ``rank`` also stands for ``training.rank``.
        known: names of the command's options, in order.
        program: the command, such as ``lorary train``.
    """
    group, _, own = option.rpartition(".")
    inside = [name for name in known if name.rpartition(".")[0] == group] if group else known
    meant = FOREIGN.get(_plain(own), own)
    begun = [name for name in inside if _begins(name, own)]
    near = (
        [name for name in inside if _plain(name) == _plain(meant)]
        # Full names that begin with the word come before those of groups.
        or [name for name in begun if group or "." not in name]
        or begun
        or find_near(own if group else option, [_last(name) if group else name for name in inside])
    )
    if not near:
        return f"{program} --help-all lists all"
    full = [f"{group}.{name}" if group and "." not in name else name for name in near[:MOST]]
    return f"did you mean {' or '.join(map(repr, full))}?"


def suggest_command(word: str, known: Iterable[str], group: str | None) -> str:
    """Suggest known commands for an unknown one.

    Args:
        word: the unknown word.
        known: all commands, such as ``train`` and ``library ls``.
        group: the group before the word, such as ``library``.
    """
    commands = list(known)
    inside = [name.removeprefix(f"{group} ") if group else name.partition(" ")[0] for name in commands]
    near = [name for name in commands if not group and name.endswith(f" {word}")] or find_near(
        word, set(inside)
    )
    if not near:
        return f"lorary {group} --help lists all" if group else "lorary --help lists all"
    return f"did you mean {' or '.join(map(repr, near))}?"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    return _last(name).replace("-", "_").casefold()


def _begins(name: str, beginning: str) -> bool:
    return len(beginning) >= SHORTEST_BEGINNING and _plain(name).startswith(_plain(beginning))
