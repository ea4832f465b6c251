"""Show what an earlier quickstart found, or do everything and show that."""

from jsonargparse import Namespace

from lorary.cli.command_table import load_module
from lorary.cli.commands.quickstart.outcome import load_outcome
from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.cli.commands.quickstart.show import show_outcome


def run(options: Namespace) -> int:
    """Show what an earlier run found, or do everything and show that."""
    plan = QuickstartPlan(
        base=options.base, num_tests=options.num_tests, max_steps=options.max_steps, seed=options.seed
    )
    outcome = None if options.fresh else load_outcome(plan, options.out)
    if outcome is None:
        # Takes seconds to import, and an earlier outcome is shown without it.
        outcome = load_module("quickstart.steps").make_outcome(plan, options.out, fresh=options.fresh)
    show_outcome(plan, outcome, options.out)
    return 0
