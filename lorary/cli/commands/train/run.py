"""Train by the method that ``--method`` names."""

from importlib import import_module

from jsonargparse import Namespace

from lorary.cli.commands.train.methods import METHODS, PEFT, refuse_unused_settings


def run(options: Namespace) -> int:
    """Call the method's own ``run``, whose module is imported now."""
    if options.kind is not None or options.peft_config is not None:
        if options.method not in ("experts", PEFT):
            raise ValueError(
                f"--kind and --peft-config train experts by PEFT: leave out --method {options.method}"
            )
        options.method = PEFT
    refuse_unused_settings(options)
    if options["continue"] and options.method != "experts":
        raise ValueError(f"--continue goes on training experts: leave it out with --method {options.method}")
    for name, given in (("general", options.general.train), ("on-top-of", options.on_top_of)):
        if given and options.method != "experts":
            raise ValueError(f"--{name} is for training experts: leave it out with --method {options.method}")
    if options["continue"] and options.general.train:
        raise ValueError(
            "--continue goes on from experts that stand on a general expert already, or on none: leave "
            "--general out; the one that they stand on is used"
        )
    module = import_module(f"lorary.cli.commands.train.{METHODS[options.method].module}")
    code: int = module.run(options)
    return code
