"""Train by the method that ``--method`` names."""

from importlib import import_module
from types import ModuleType

from jsonargparse import Namespace

from lorary.cli.commands.train.methods import METHODS, PEFT, refuse_unused_settings
from lorary.cli.faults import Faults


def run(options: Namespace) -> int:
    """Check the options, and call the method's own ``run``."""
    code: int = check(options).run(options)
    return code


def check(options: Namespace) -> ModuleType:
    """Check all options, see ``lorary.cli.command``; return the method's module, which is imported now."""
    faults = Faults()
    if options.kind is not None or options.peft_config is not None:
        if options.method not in ("experts", PEFT):
            faults.add(
                f"--kind and --peft-config train experts with PEFT: leave out --method {options.method}"
            )
        options.method = PEFT
    faults.keep(lambda: refuse_unused_settings(options))
    if options["continue"] and options.method != "experts":
        faults.add(f"--continue is for training experts: leave it out with --method {options.method}")
    for name, given in (("general", options.general.train), ("on-top-of", options.on_top_of)):
        if given and options.method != "experts":
            faults.add(f"--{name} is for training experts: leave it out with --method {options.method}")
    if options["continue"] and options.general.train:
        faults.add(
            "--continue continues experts that already build on a general expert, or on none: leave "
            "out --general; the general expert that they build on is used"
        )
    module = import_module(f"lorary.cli.commands.train.{METHODS[options.method].module}")
    faults.keep(lambda: module.check(options))
    faults.raise_all()
    return module
