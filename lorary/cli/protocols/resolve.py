"""Put a scale's values into the commands of a protocol, and check every command before the first one runs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorary.cli.command_table import COMMANDS, GROUPS, load_command
from lorary.cli.options import build_parser, read_options
from lorary.cli.protocols.protocol import Protocol, Row, Scale, Stage, Values
from lorary.cli.task_places import group_files
from lorary.errors import suggest
from lorary.files import quote

BASE_FOLDER = "base"
MAX_FAULTS = 8
# A protocol with this command could run itself.
OWN_COMMAND = "run"
NEEDS_DATA = "it reads your data: name their folder with --data FOLDER (see docs/how-to/protocols.md)"
_NAME = re.compile(r"\{([a-z_0-9]+)\}")


@dataclass(frozen=True, kw_only=True)
class ReadyStage:
    """A stage whose command has all of its values."""

    stage: Stage
    """The stage."""
    words: tuple[str, ...]
    """The words of its command line, after ``lorary``."""
    makes: tuple[str, ...]
    """Files and folders that exist when it is finished."""
    cost: Mapping[str, Mapping[str, float]]
    """Numbers for the plan."""


@dataclass(frozen=True, kw_only=True)
class ReadyProtocol:
    """A protocol at one scale, in one folder."""

    protocol: Protocol
    """The protocol."""
    scale: Scale
    """The scale."""
    out: Path
    """Its folder."""
    stages: tuple[ReadyStage, ...]
    """The stages of this scale, in order."""
    values: Values
    """Replacements for names in commands."""

    def list_tasks(self, row: Row) -> list[str] | None:
        """Name the tasks of a row of the table; None for all."""
        if row.tasks is None:
            return None
        given = self.values[row.tasks]
        return list(name_tasks([given] if isinstance(given, str) else given))


def resolve(
    protocol: Protocol, scale_name: str, out: Path, *, data: Path | None, given: Mapping[str, str]
) -> ReadyProtocol:
    """Make a protocol ready to run.

    Args:
        protocol: the protocol.
        scale_name: name of the scale.
        out: the folder of the run.
        data: the user's folder of data, if one is given.
        given: the user's own values.

    Raises:
        ValueError: with all faults.
    """
    if scale_name not in protocol.scales:
        raise ValueError(
            f"protocol {protocol.name} has no scale {quote(scale_name, 60)}: "
            f"{suggest(scale_name, protocol.scales)}"
        )
    scale = protocol.scales[scale_name]
    faults: list[str] = []
    values = _gather_values(scale, out, data, given, faults)
    stages = [stage for stage in protocol.stages if not stage.scales or scale.name in stage.scales]
    names = {stage.name for stage in stages}
    faults += [] if stages else [f"no stage is of scale {scale.name!r}: give it some"]
    faults += [
        f"stage {stage.name!r} needs {need!r}, which scale {scale.name!r} does not have"
        for stage in stages
        for need in stage.needs
        if need not in names
    ]
    made = {part for stage in stages for word in stage.makes for part in _fill_word(word, values, "", [])}
    ready = tuple(_resolve_stage(stage, values, made, faults) for stage in stages)
    for number, row in enumerate(protocol.table, 1):
        if row.tasks is not None and row.tasks not in values:
            faults.append(
                f"row {number} of the table names its tasks by {quote(row.tasks, 60)}, which is not a value: "
                f"{suggest(row.tasks, values)}"
            )
    if faults:
        shown = list(dict.fromkeys(faults))
        more = ["…"] if len(shown) > MAX_FAULTS else []
        raise ValueError(
            f"protocol {protocol.name}, scale {scale.name}: " + "; ".join([*shown[:MAX_FAULTS], *more])
        )
    return ReadyProtocol(protocol=protocol, scale=scale, out=out, stages=ready, values=values)


def name_tasks(places: Iterable[str]) -> Iterable[str]:
    """Name the tasks that places stand for, without reading them."""
    for place in places:
        name, equals, _ = place.partition("=")
        if Path(place).is_dir():
            yield from group_files(Path(place))
        elif equals:
            yield name
        elif place.startswith(("synthetic:", "generated:")):
            yield place.partition(":")[2]
        else:
            yield Path(place).name.partition(".")[0]


def _gather_values(
    scale: Scale, out: Path, data: Path | None, given: Mapping[str, str], faults: list[str]
) -> dict[str, str | list[str]]:
    fixed: dict[str, str | list[str]] = {"out": str(out)}
    if data is not None:
        fixed["data"] = str(data)
    if scale.model is not None:
        fixed["base"] = str(out / BASE_FOLDER)
    values = {**scale.values, **(scale.with_data if data is not None else {})}
    for name, value in given.items():
        if name not in values and name not in fixed:
            faults.append(
                f"--set names an unknown value {quote(name, 60)}: {suggest(name, [*values, *fixed])}"
            )
        values[name] = value.split(",") if isinstance(values.get(name), list) else value
    # Values may contain the run's folder, the folder of data and the base model.
    fixed = {**fixed, **({"base": values["base"]} if "base" in values else {})}
    return {**fixed, **{name: _fill(value, fixed, f"value {name}", faults) for name, value in values.items()}}


def _fill(value: str | list[str], values: Values, where: str, faults: list[str]) -> str | list[str]:
    filled = [
        word
        for part in ([value] if isinstance(value, str) else value)
        for word in _fill_word(part, values, where, faults)
    ]
    return filled[0] if isinstance(value, str) and len(filled) == 1 else filled


def _fill_word(word: str, values: Values, where: str, faults: list[str]) -> list[str]:
    """Fill one word; a word that is only a name can become several."""
    whole = _NAME.fullmatch(word)
    if whole and isinstance(values.get(whole[1]), list):
        return list(values[whole[1]])

    def put(match: re.Match[str]) -> str:
        found = values.get(match[1])
        if found is None:
            faults.append(
                NEEDS_DATA
                if match[1] == "data"
                else f"{where} has an unknown value {match[0]}: {suggest(match[1], values)}"
            )
            return match[0]
        return found if isinstance(found, str) else ",".join(found)

    return [_NAME.sub(put, word)]


def _resolve_stage(stage: Stage, values: Values, made: set[str], faults: list[str]) -> ReadyStage:
    where = f"stage {stage.name!r}"
    own: list[str] = []
    words = [part for word in stage.command for part in _fill_word(word, values, where, own)]
    makes = [part for word in stage.makes for part in _fill_word(word, values, where, own)]
    cost = {
        kind: {key: _read_cost(value, values, where, own) for key, value in numbers.items()}
        for kind, numbers in stage.cost.items()
    }
    if not own:
        own += _check_command(words, made, where)
    faults += own
    return ReadyStage(stage=stage, words=tuple(words), makes=tuple(makes), cost=cost)


def _read_cost(value: Any, values: Values, where: str, faults: list[str]) -> float:
    if not isinstance(value, str):
        return float(value)
    found = _fill(value, values, where, faults)
    try:
        return float(str(found))
    except ValueError:
        faults.append(f"the cost of {where} must be a number, found {quote(found, 60)} for {value}")
        return 1.0


def _check_command(words: list[str], made: set[str], where: str) -> list[str]:
    name, rest = split_command(words)
    # An option file that another stage makes does not exist yet.
    kept = [
        place
        for place, word in enumerate(rest)
        if word == "--config" and set(rest[place + 1 : place + 2]) <= made
    ]
    for place in reversed(kept):
        del rest[place : place + 2]
    if name == OWN_COMMAND:
        return [f"{where} must not run a protocol"]
    if name not in COMMANDS:
        return [f"{where} has an unknown command {quote(name, 60)}: {suggest(name, COMMANDS)}"]
    try:
        read_options(name, load_command(name), rest)
    except ValueError as error:
        return [f"{where}: {error}"]
    return []


def split_command(words: list[str] | tuple[str, ...]) -> tuple[str, list[str]]:
    """Split a command line into the command's name and its options."""
    depth = 2 if words and words[0] in GROUPS else 1
    return " ".join(words[:depth]), list(words[depth:])


def has_option(name: str, option: str) -> bool:
    """Return whether a command has an option."""
    return option in build_parser(name, load_command(name))._option_string_actions
