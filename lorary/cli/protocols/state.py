"""The finished stages of a run, in its folder; a changed protocol is not continued there."""

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

from lorary.cli.protocols.resolve import ReadyProtocol, ReadyStage
from lorary.errors import FormatError
from lorary.files import dump_json, parse_json_object, quote, read_at_most, write_whole

STATE = "protocol.json"
FORMAT = 1
MAX_DIFFERENCES = 6


class RunState:
    """The finished stages.

    Args:
        ready: the protocol in its folder.

    Raises:
        ValueError: if the folder has a run of another protocol, of another scale, or of other commands.
        FormatError: if the file is damaged.
    """

    def __init__(self, ready: ReadyProtocol):
        self._ready = ready
        self._path = ready.out / STATE
        self._seconds: dict[str, float] = {}
        saved = self._read()
        if saved is not None:
            self._refuse_changes(saved)
            stages = {found.stage.name for found in ready.stages}
            self._seconds = {name: seconds for name, seconds in saved["seconds"].items() if name in stages}

    def is_done(self, stage: ReadyStage) -> bool:
        """Return whether a stage is finished and its results exist, and likewise all stages that it needs."""
        by_name = {found.stage.name: found for found in self._ready.stages}
        return (
            stage.stage.name in self._seconds
            and all(Path(place).exists() for place in stage.makes)
            and all(self.is_done(by_name[need]) for need in stage.stage.needs)
        )

    def seconds(self, stage: ReadyStage) -> float:
        """Return how long a stage took."""
        return self._seconds[stage.stage.name]

    def begin(self) -> None:
        """Record what will be run."""
        self._write()

    def forget(self, stage: ReadyStage) -> None:
        """Record that a stage is run again; those that need it then are run again too, also after a kill."""
        gone = {stage.stage.name}
        for found in self._ready.stages:  # each follows those that it needs
            if gone.intersection(found.stage.needs):
                gone.add(found.stage.name)
        if gone & self._seconds.keys():
            self._seconds = {name: own for name, own in self._seconds.items() if name not in gone}
            self._write()

    def finish(self, stage: ReadyStage, seconds: float) -> None:
        """Record that a stage is finished."""
        self._seconds[stage.stage.name] = seconds
        self._write()

    def _write(self) -> None:
        write_whole(self._path, dump_json({**self._describe(), "seconds": self._seconds}))

    def _describe(self) -> dict[str, Any]:
        ready = self._ready
        return {
            "lorary": FORMAT,
            "protocol": ready.protocol.name,
            "scale": ready.scale.name,
            "stages": {found.stage.name: list(found.words) for found in ready.stages},
        }

    def _read(self) -> dict[str, Any] | None:
        advice = "delete it to start over in this folder; the commands themselves keep finished work"
        try:
            saved = parse_json_object(read_at_most(self._path), str(self._path), advice)
        except FileNotFoundError:
            return None
        kinds = {"protocol": str, "scale": str, "stages": dict, "seconds": dict}
        is_right = all(isinstance(saved.get(key), kind) for key, kind in kinds.items()) and all(
            isinstance(words, list) and all(isinstance(word, str) for word in words)
            for words in saved["stages"].values()
        )
        if not is_right or not all(type(found) in (int, float) for found in saved["seconds"].values()):
            raise FormatError(f"{quote(str(self._path))} is damaged: {advice}")
        return saved

    def _refuse_changes(self, saved: Mapping[str, Any]) -> None:
        found = list(_list_differences(saved, self._describe()))
        if found:
            more = "; …" if len(found) > MAX_DIFFERENCES else ""
            raise ValueError(
                f"folder {quote(str(self._ready.out))} has another run: {'; '.join(found[:MAX_DIFFERENCES])}"
                f"{more}: use another --out, or delete {quote(str(self._path))} to continue in this "
                "folder with the changed commands"
            )


def _list_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in ("protocol", "scale"):
        if saved[key] != now[key]:
            yield f"{key} {quote(saved[key], 60)}, not {quote(now[key], 60)}"
    if saved["protocol"] != now["protocol"] or saved["scale"] != now["scale"]:
        return
    for name in dict.fromkeys([*saved["stages"], *now["stages"]]):
        before, after = saved["stages"].get(name), now["stages"].get(name)
        if before is None or after is None:
            yield f"stage {quote(name, 60)} is {'new' if before is None else 'missing'}"
        elif before != after:
            lines = unified_diff(before, after, n=0, lineterm="")
            changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
            old = " ".join(line[1:] for line in changed if line.startswith("-"))
            new = " ".join(line[1:] for line in changed if line.startswith("+"))
            yield f"stage {quote(name, 60)} had {quote(old, 80)}, now {quote(new, 80)}"
