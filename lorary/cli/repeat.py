"""Options as words of another command line, so that a suggested command means the same."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import Namespace

from lorary.cli.base_options import DEFAULT_BASE
from lorary.cli.column_maps import write_columns
from lorary.cli.task_places import parse_places
from lorary.cli.trained_prompts import find_common_prompts
from lorary.library.entry import Entry

# Options of prompts that cards of trained experts have, with the defaults of ``lorary train``.
PROMPT_DEFAULTS = {"with_definition": True, "max_length": 512, "truncation": "prompt-middle"}


def repeat_command(options: Namespace, *more: str, without: str | None = None) -> list[str]:
    """Write a command's own words again.

    Args:
        options: its options.
        more: further words.
        without: a word to leave out.
    """
    words = [word for word in options.words if word != without]
    # Words after "--" are not options.
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *more, *words[end:]]


def repeat_tasks(options: Namespace) -> list[str]:
    """Write the options of ``add_task_options`` that differ from their defaults.

    Returns:
        The words; empty if YAML has one place per split, which words cannot express.
    """
    given = [options.tasks] if isinstance(options.tasks, str) else options.tasks
    if isinstance(given, Mapping):
        places = parse_places(given)
        if not all(isinstance(place, str) for _, place in places):
            return []
        given = [f"{name}={place}" for name, place in places]
    return ["--tasks", *given, *_repeat_reading(options), *repeat_template(options)]


def repeat_template(options: Namespace) -> list[str]:
    """Write the options of the template that differ from those of tasks."""
    return [
        *(["--template", options.template] if options.template != "plain" else []),
        *_repeat_pairs("--template-args", options.template_args),
        *(["--with-definition", "false"] if not options.with_definition else []),
    ]


def repeat_prompt_template(options: Namespace) -> list[str]:
    """Write the template for a prompt of ``lorary generate``, whose default is that of the experts' cards."""
    return ["--template", options.template, *_repeat_pairs("--template-args", options.template_args)]


def repeat_base(options: Namespace) -> list[str]:
    """Write the given options of ``add_base_options``."""
    given = {name: options.get(name) for name in ("base", "revision", "device", "dtype", "quantize")}
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
    return [*words, *(["--trust-base"] if options.get("trust_base") else [])]


def repeat_router(options: Namespace, router: str, kind: type[Any]) -> list[str]:
    """Write a router with its options that were given, or that differ from their defaults.

    Args:
        options: the command's options.
        router: the router's name.
        kind: the class of its options.
    """
    default, given = kind(), options.get(router, Namespace())
    typed = options.get("given", ())
    words = ["--router", router]
    for name in (field.name for field in fields(kind)):
        if name in given and (given[name] != getattr(default, name) or f"{router}.{name}" in typed):
            value = given[name]
            words += [f"--{router}.{name}", value if isinstance(value, str) else json.dumps(value)]
    return [*words, *(["--combine", options.combine] if options.combine is not None else [])]


def repeat_prompts(entries: Iterable[Entry]) -> list[str]:
    """Write the template that experts were trained with, for ``lorary generate``; nothing if they differ."""
    prompts = find_common_prompts(entries)
    if not prompts:
        return []
    return [
        "--template",
        prompts["template"],
        *_repeat_pairs("--template-args", prompts.get("template_args")),
    ]


def repeat_training(entries: Sequence[Entry]) -> list[str]:
    """Write the base model and the prompts that experts were trained with, for ``lorary train``."""
    bases = {(entry.base_model, entry.card.base_revision) for entry in entries}
    (base, revision) = bases.pop() if len(bases) == 1 else ("", None)
    words = ["--base", base] if base and base != DEFAULT_BASE else []
    words += ["--revision", revision] if base and revision else []
    prompts = find_common_prompts(entries)
    if prompts:
        args = prompts.get("template_args")
        words += ["--template", prompts["template"], *_repeat_pairs("--template-args", args)]
    for name, default in PROMPT_DEFAULTS.items():
        if prompts.get(name, default) != default:
            words += [f"--{name.replace('_', '-')}", _write_value(prompts[name])]
    return words


def _repeat_reading(options: Namespace) -> list[str]:
    return [
        *(["--format", options.format] if options.format else []),
        *_repeat_pairs("--columns", write_columns(options.columns)),
        *(["--turns", options.turns] if options.turns != "last" else []),
        *(["--skip-bad"] if options.skip_bad else []),
    ]


def _repeat_pairs(option: str, given: Any) -> list[str]:
    """Write words ``NAME=VALUE``, from words or from a mapping of YAML."""
    if isinstance(given, Mapping):
        given = [f"{name}={_write_value(value)}" for name, value in given.items()]
    words = [given] if isinstance(given, str) else given
    return [option, *map(str, words)] if words else []


def _write_value(value: Any) -> str:
    """Write a value as it is read from a word: text as it is, unless it could be taken for JSON."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value, ensure_ascii=False)
