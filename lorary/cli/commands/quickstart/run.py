"""Show the saved outcome of the quickstart, or run it and show its outcome."""

from jsonargparse import Namespace

from lorary.cli.command_table import load_module
from lorary.cli.commands.quickstart.outcome import load_outcome
from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.cli.commands.quickstart.show import show_outcome


def run(options: Namespace) -> int:
    """Show the saved outcome of the same plan, or run all steps and show theirs."""
    plan = QuickstartPlan(
        base=options.base, num_tests=options.num_tests, max_steps=options.max_steps, seed=options.seed
    )
    outcome = None if options.fresh else load_outcome(plan, options.out)
    if outcome is None:
        # Imports PyTorch and transformers (5 s); without them a saved outcome is shown in 0.3 s.
        outcome = load_module("quickstart.steps").make_outcome(plan, options.out, fresh=options.fresh)
    show_outcome(plan, outcome, options.out)
    return 0
