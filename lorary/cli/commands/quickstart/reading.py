"""One sentence that says what the quickstart's table shows."""

from lorary.cli.commands.quickstart.plan import ROUTER, QuickstartPlan
from lorary.evaluation import Result, paired_difference

METRIC = "exact_match"
CONTROL = "multi-task"


def read_result(plan: QuickstartPlan, result: Result) -> str:
    """Say how the default router does beside its controls.

    Args:
        plan: what was done.
        result: the comparison; holds ``METRIC`` of every route of the plan.
    """

    def share(route: str) -> str:
        return f"{result.overall(route, METRIC).mean:.0%}"

    lead = paired_difference(result, METRIC, ROUTER, CONTROL)
    error = "" if lead.standard_error is None else f" ± {100 * lead.standard_error:.0f}"
    return (
        f"How to read it: {ROUTER}, the default router, sees no task's data and answers {share(ROUTER)} of "
        f"the questions exactly. Each task's own expert (oracle) answers {share('oracle')}, Arrow "
        f"{share('arrow')}, and one LoRA trained on all tasks, with {plan.multi_task_share:.0%} of the "
        f"experts' examples, {share(CONTROL)}: {ROUTER} minus {CONTROL} is "
        f"{100 * lead.mean:+.0f}{error} points."
    )
