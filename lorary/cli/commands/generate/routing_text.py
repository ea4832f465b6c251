"""Print the experts that each token used, as coloured lines."""

from rich.text import Text

from lorary.assembly import Explanation
from lorary.cli.console import open_console
from lorary.files import escape, say_count

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
NUM_SHOWN = 6


def print_routing(explanation: Explanation, num_prompt_tokens: int) -> None:
    """Print each token in the colour of its main expert, and the experts with the largest mean shares.

    Args:
        explanation: the routing of prompt and answer.
        num_prompt_tokens: number of tokens of the prompt.
    """
    shares = explanation.shares_per_token()  # [T, E]
    means = shares.mean(0)
    order = means.argsort(descending=True).tolist()
    shown = order[:NUM_SHOWN]
    colours = {expert: COLOURS[place] for place, expert in enumerate(shown)}
    best = shares.argmax(1).tolist()
    text = Text()
    for place, (token, expert) in enumerate(zip(explanation.tokens, best, strict=True)):
        if place == num_prompt_tokens:
            text.append(" → ", style="bold")
        text.append(escape(token), style=colours.get(expert, "dim"))
    experts = Text()
    for expert in shown:
        experts.append(f"{explanation.experts[expert]} {float(means[expert]):.0%}  ", style=colours[expert])
    if len(order) > len(shown):
        others = float(means[order[len(shown) :]].sum())
        rest = say_count(len(order) - len(shown), "other")
        experts.append(f"{rest} {others:.0%}", style="dim")
    console = open_console(soft_wrap=True)
    console.print()
    console.print(Text("tokens   ", style="bold") + text)
    console.print(Text("experts  ", style="bold") + experts)
    console.print(
        Text(
            "each token has the colour of the expert with the largest share, averaged over layers",
            style="dim",
        )
    )
