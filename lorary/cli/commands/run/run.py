"""List protocols, print a plan, or run the stages one after the other and print the table."""

import gc
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lorary.cli import protocols
from lorary.cli.commands.run.show import print_cells, print_command, print_plan, print_protocols
from lorary.cli.main import run_command
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_line
from lorary.cli.protocols.resolve import ReadyProtocol, ReadyStage, has_option, resolve, split_command
from lorary.cli.protocols.results import read_cells, write_table
from lorary.cli.protocols.shipped import find_protocol
from lorary.cli.protocols.state import RunState
from lorary.files import quote, write_whole
from lorary.training.folder.lock import hold_run_folder

ALLOW_CODE = "--allow-code"
TABLE = "table.md"


def run(options: Namespace) -> int:
    """List protocols, print a plan, or run one."""
    if options.protocol is None:
        print_protocols(is_json=options.json)
        return 0
    if options.tflops is not None and not (options.tflops > 0 and math.isfinite(options.tflops)):
        raise ValueError(f"--tflops must be above 0, found {options.tflops}")
    ready = read_ready(options)
    if options.dry_run:
        print_plan(ready, RunState(ready), options.tflops, is_json=options.json)
        return 0
    check_code(ready, allow_code=options.allow_code)
    with hold_run_folder(ready.out):
        run_stages(ready, options.device, quiet=options.json)
    cells = read_cells(ready)
    if cells:
        write_whole(ready.out / TABLE, write_table(ready, cells))
    print_cells(ready, cells, ready.out / TABLE, is_json=options.json)
    return 0


def read_ready(options: Namespace) -> ReadyProtocol:
    """Read the protocol, and check all of its commands.

    Raises:
        ValueError: with all faults of the options.
    """
    protocol = find_protocol(options.protocol)
    out = options.out or Path("runs") / f"{protocol.name}-{options.scale}"
    check_out(out, str(out / "library"))
    if options.data is not None and not options.data.is_dir():
        raise ValueError(f"--data must be a folder, found none at {quote(str(options.data))}")
    return resolve(protocol, options.scale, out, data=options.data, given=read_given(options.set or ()))


def read_given(words: Iterable[Any]) -> dict[str, str]:
    """Read the words of ``--set``.

    Raises:
        ValueError: if a word has no name.
    """
    given = {}
    for word in [words] if isinstance(words, str) else words:
        name, equals, value = str(word).partition("=")
        if not equals or not name:
            raise ValueError(f"--set takes NAME=VALUE, found {quote(str(word), 60)}")
        given[name] = value
    return given


def check_code(ready: ReadyProtocol, *, allow_code: bool) -> None:
    """Refuse a protocol that runs programs written by the model, unless that is allowed.

    Raises:
        ValueError: with the first such stage.
    """
    stages = [found.stage.name for found in ready.stages if ALLOW_CODE in found.words]
    if stages and not allow_code:
        raise ValueError(
            f"stage {stages[0]!r} runs programs written by the model, in a sandbox: allow it with "
            f"{ALLOW_CODE}"
        )


def run_stages(ready: ReadyProtocol, device: str | None, *, quiet: bool = False) -> None:
    """Run the stages that have not ended yet."""
    state = RunState(ready)
    state.begin()
    if ready.scale.model is not None:
        protocols.make_tiny_base(ready.scale.model, ready.out / "base")
    for number, stage in enumerate(ready.stages, 1):
        what = f"stage {number} of {len(ready.stages)}, {stage.stage.name}"
        if state.is_done(stage):
            print_line(f"{what}: done before, in {state.seconds(stage):.0f} s", stderr=quiet)
            continue
        state.forget(stage)
        print_line(f"{what}: {stage.stage.does}", stderr=True)
        words = add_device(stage, device)
        print_command(words, stderr=True)
        begun = time.monotonic()
        _run_one(words, stage.stage.name)
        state.finish(stage, time.monotonic() - begun)


def add_device(stage: ReadyStage, device: str | None) -> list[str]:
    """Add the device to a command that has one."""
    name, _ = split_command(stage.words)
    has_device = device is not None and "--device" not in stage.words and has_option(name, "--device")
    return [*stage.words, *(["--device", device] if device is not None and has_device else [])]


def _run_one(words: list[str], name: str) -> None:
    try:
        code = run_command(words)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"stage {name} was interrupted ({interrupt or 'nothing is lost'}): run the same command "
            "again to continue"
        ) from None
    except Exception as error:
        error.add_note(f"in stage {name}")
        print_line(f"stage {name} failed; earlier stages are kept: run the same command again", stderr=True)
        raise
    if code:
        raise ValueError(f"stage {name} ended with code {code}: run the same command again")
    gc.collect()  # the models of a stage
