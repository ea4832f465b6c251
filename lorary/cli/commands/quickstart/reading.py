"""A summary of the quickstart's table, in words."""

from lorary.cli.commands.quickstart.plan import METRIC, ROUTER, QuickstartPlan
from lorary.evaluation import Result
from lorary.evaluation.compare import paired_difference

CONTROL = "multi-task"


def read_result(plan: QuickstartPlan, result: Result) -> str:
    """Compare the default router with the other routes, in words.

    Args:
        plan: the settings of the quickstart.
        result: the comparison, with ``METRIC`` for every route.
    """

    def share(route: str) -> str:
        return f"{result.overall(route, METRIC).mean:.0%}"

    lead = paired_difference(result, METRIC, ROUTER, CONTROL)
    error = "" if lead.standard_error is None else f" ± {100 * lead.standard_error:.0f}"
    return (
        f"Exact answers: {share(ROUTER)} with {ROUTER}, the default router, which sees no data of the tasks; "
        f"{share('oracle')} with each task's own expert (oracle); {share('arrow')} with Arrow; "
        f"{share(CONTROL)} with one LoRA trained on all tasks, with {plan.multi_task_share:.0%} of the "
        f"experts' examples ({CONTROL}). The difference {ROUTER} minus {CONTROL} is "
        f"{100 * lead.mean:+.0f}{error} percentage points."
    )
