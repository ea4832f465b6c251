"""Read a protocol's file, and refuse it with all of its faults."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorary.cli.protocols.fields import (
    MAPPING,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    VALUES,
    Check,
    check_fields,
    list_required,
)
from lorary.cli.protocols.order import order_stages
from lorary.cli.protocols.protocol import BaseSizes, Protocol, Row, Scale, Stage
from lorary.cli.protocols.tiny_kinds import KINDS
from lorary.errors import FormatError, suggest
from lorary.files import quote
from lorary.files.yaml_text import read_yaml

FORMAT = 1
MAX_FAULTS = 12
_STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_TOP: dict[str, Check] = {
    "protocol": NUMBER,
    **dict.fromkeys(("title", "paper", "about"), TEXT),
    **dict.fromkeys(("scales", "stages"), MAPPING),
    "table": (lambda value: isinstance(value, list), "a list of rows"),
}
_STAGE: dict[str, Check] = {
    **dict.fromkeys(("does", "command"), TEXT),
    **dict.fromkeys(("needs", "makes", "scales"), TEXTS),
    "cost": MAPPING,
}
_SCALE: dict[str, Check] = {
    **dict.fromkeys(("values", "with_data"), VALUES),
    "sizes": MAPPING,
    "model": TEXT,
    "tflops": NUMBER,
}
_ROW: dict[str, Check] = {
    **dict.fromkeys(("row", "stage", "route", "metric", "tasks", "source"), TEXT),
    "published": NUMBERS,
}
_SIZES: dict[str, Check] = dict.fromkeys(("parameters", "layers", "hidden", "width", "bytes"), NUMBER)
# The quantities of a cost; a text is a name in braces.
_COST: Check = (
    lambda value: NUMBER[0](value) or (isinstance(value, str) and value.startswith("{")),
    "a number above 0, or a name in braces",
)
COSTS: dict[str, dict[str, Check]] = {
    "train": dict.fromkeys(
        ("experts", "examples", "epochs", "steps", "batch_size", "tokens", "rank", "slots"), _COST
    ),
    "read": dict.fromkeys(("items", "tokens", "routes"), _COST),
}
_NEEDED_COSTS = {"train": {"experts", "tokens", "rank"}, "read": {"items", "tokens"}}


def read_protocol(path: Path, name: str) -> Protocol:
    """Read a protocol.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not a protocol, with all faults.
    """
    faults: list[str] = []
    protocol = _build(read_yaml(path), name, faults)
    if protocol is None or faults:
        shown = "; ".join([*faults[:MAX_FAULTS], *(["…"] if len(faults) > MAX_FAULTS else [])])
        raise FormatError(f"protocol {quote(str(path))}: {shown}")
    return protocol


def _build(content: Any, name: str, faults: list[str]) -> Protocol | None:
    top = check_fields(content, _TOP, {*_TOP} - {"about", "table"}, "the file", faults)
    if top.get("protocol", FORMAT) != FORMAT:
        faults.append(f"protocol must be {FORMAT}, the version of the format, found {top['protocol']!r}")
    scales = {str(key): _build_scale(str(key), value, faults) for key, value in top.get("scales", {}).items()}
    stages = {str(key): _build_stage(str(key), value, faults) for key, value in top.get("stages", {}).items()}
    for what, found in (("scales", scales), ("stages", stages)):
        if what in top and not found:
            faults.append(f"{what} must not be empty")
    _check_needs(stages, scales, faults)
    rows = [_build_row(number, value, stages, faults) for number, value in enumerate(top.get("table", []), 1)]
    if faults:
        return None
    ordered, circle = order_stages({stage: found.needs for stage, found in stages.items()})
    if circle:
        faults.append(
            f"stages need each other in a cycle ({' needs '.join(circle)}): remove one of these needs"
        )
    return Protocol(
        name=name,
        title=top["title"],
        paper=top["paper"],
        about=top.get("about", ""),
        scales=scales,
        stages=tuple(stages[stage] for stage in ordered),
        table=tuple(rows),
    )


def _build_stage(name: str, content: Any, faults: list[str]) -> Stage:
    where = f"stage {quote(name, 60)}"
    if not _STAGE_NAME.fullmatch(name):
        faults.append(f"the name of {where} must have lowercase letters, digits and hyphens only")
    found = check_fields(content, _STAGE, {"does", "command"}, where, faults)
    words: list[str] = []
    try:
        words = shlex.split(found.get("command", ""))
    except ValueError as error:
        faults.append(f"the command of {where} cannot be split into words: {error}")
    if words and words[0] != "lorary":
        faults.append(f"the command of {where} must begin with lorary, found {quote(words[0], 60)}")
    cost = found.get("cost", {})
    for kind, numbers in cost.items():
        if kind not in COSTS:
            faults.append(
                f"cost of {where} has an unknown key {quote(kind, 60)}: {suggest(str(kind), COSTS)}"
            )
            continue
        check_fields(numbers, COSTS[kind], _NEEDED_COSTS[kind], f"cost {kind} of {where}", faults)
    return Stage(
        name=name,
        does=found.get("does", ""),
        command=tuple(words[1:]),
        needs=tuple(found.get("needs", ())),
        makes=tuple(found.get("makes", ())),
        scales=tuple(found.get("scales", ())),
        cost=cost,
    )


def _build_scale(name: str, content: Any, faults: list[str]) -> Scale:
    where = f"scale {quote(name, 60)}"
    found = check_fields(content, _SCALE, {"sizes"}, where, faults)
    sizes = check_fields(
        found.get("sizes", {}),
        _SIZES,
        list_required(BaseSizes) if "sizes" in found else set(),
        f"sizes of {where}",
        faults,
    )
    model = found.get("model")
    if model is not None and model not in KINDS:
        faults.append(
            f"model of {where} is {quote(model, 60)}, for which no random model can be created: "
            f"{suggest(model, KINDS)}"
        )
    if model is None and "base" not in found.get("values", {}):
        faults.append(f"values of {where} must have base, the base model, or {where} must have model")
    kept = {key: found[key] for key in ("model", "tflops") if key in found}
    complete = {key: sizes.get(key, 1) for key in _SIZES if key in sizes or key != "bytes"}
    return Scale(
        name=name,
        sizes=BaseSizes(**complete),
        values=_write_values(found.get("values", {})),
        with_data=_write_values(found.get("with_data", {})),
        **kept,
    )


def _build_row(number: int, content: Any, stages: Mapping[str, Stage], faults: list[str]) -> Row:
    where = f"row {number} of the table"
    found = check_fields(content, _ROW, {"row", "stage", "route"}, where, faults)
    if "stage" in found and found["stage"] not in stages:
        faults.append(
            f"{where} has an unknown stage {quote(found['stage'], 60)}: {suggest(found['stage'], stages)}"
        )
    return Row(**{"row": "", "stage": "", "route": "", **found})


def _check_needs(stages: Mapping[str, Stage], scales: Mapping[str, Scale], faults: list[str]) -> None:
    for stage in stages.values():
        for key, known in (("needs", stages), ("scales", scales)):
            for name in getattr(stage, key):
                if name not in known:
                    faults.append(
                        f"{key} of stage {quote(stage.name, 60)} has an unknown name {quote(name, 60)}: "
                        f"{suggest(name, known)}"
                    )


def _write_values(values: Mapping[str, Any]) -> dict[str, str | list[str]]:
    return {
        name: [_write(part) for part in value]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else _write(value)
        for name, value in values.items()
    }


def _write(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
