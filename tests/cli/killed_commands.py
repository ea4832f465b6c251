"""Commands whose processes are killed for real, and that are given again until they end.

    python -m tests.cli.killed_commands PLACE SCENARIOS

SCENARIOS is a JSON object: name -> ``{"words": [...], "moments": [...]}``. In the words, ``{out}`` stands for
``PLACE/name``. A moment is ``["step", n]``, ``["batch", n]`` or ``["kept", n]``: the process kills itself
after its n-th pass of a training, or before or after its n-th batch of answers is stored. Each moment costs
one process; a last one, which nobody disturbs, ends the command. What each process did is in
``PLACE/name.log``, a line per pass and batch.

Processes are forked, since importing takes longer than a command. A scenario without moments runs in this
process itself, which then has imported everything.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import torch

from lorary.cli import main as run_command
from lorary.cli.commands.train import experts as training
from lorary.evaluation import responding


def main():
    place, scenarios = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    for name, scenario in scenarios.items():
        words = [word.replace("{out}", str(place / name)) for word in scenario["words"]]
        log = place / f"{name}.log"
        for moment in scenario["moments"]:
            assert run_in_child(words, log, moment) == -signal.SIGKILL, (name, moment)
        code = run_in_child(words, log) if scenario["moments"] else run(words, log)
        assert code == 0, (name, code)


def run_in_child(words, log, moment=None):
    """Run a command in a process of its own; returns what it ended with."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # before threads that load weights renew the pool of the parent at once
            os._exit(run(words, log, moment))
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(words, log, moment=None):
    """Run a command; it is killed at a moment."""
    originals = (training.train_experts, responding.score_targets, responding.generate_answers)
    counted = Counter()

    def tell(kind, number):
        counted[kind] += 1
        with log.open("a") as file:
            file.write(f"{kind} {number}\n")
        if [kind, counted[kind]] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_training(*args, on_progress, **told):
        def follow(event):
            on_progress(event)
            tell("step", event.num_steps)

        return originals[0](*args, on_progress=follow, **told)

    def watch_answers(compute):
        def watched(*args, keep, **told):
            def tell_and_keep(places, found):
                tell("batch", len(places))
                keep(places, found)
                tell("kept", len(places))

            return compute(*args, keep=tell_and_keep, **told)

        return watched

    training.train_experts = watch_training
    responding.score_targets, responding.generate_answers = map(watch_answers, originals[1:])
    try:
        return run_command(words)
    finally:
        training.train_experts, responding.score_targets, responding.generate_answers = originals


if __name__ == "__main__":
    main()
