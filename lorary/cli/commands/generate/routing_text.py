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
    console = open_console(soft_wrap=True)
    has_colours = console.color_system is not None and not console.no_color
    text = Text()
    for place, (token, expert) in enumerate(zip(explanation.tokens, best, strict=True)):
        if place == num_prompt_tokens:
            text.append(" → ", style="bold")
        if not has_colours and (place in (0, num_prompt_tokens) or best[place - 1] != expert):
            text.append(f"[{escape(explanation.experts[expert], keep='')}]")
        text.append(escape(token), style=colours.get(expert, "dim"))
    experts = Text()
    for expert in shown:
        experts.append(f"{explanation.experts[expert]} {float(means[expert]):.0%}  ", style=colours[expert])
    if len(order) > len(shown):
        others = float(means[order[len(shown) :]].sum())
        rest = say_count(len(order) - len(shown), "other")
        experts.append(f"{rest} {others:.0%}", style="dim")
    console.print()
    console.print(Text("tokens   ", style="bold") + text)
    console.print(Text("experts  ", style="bold") + experts)
    told = "in the colour of" if has_colours else "in brackets:"
    console.print(Text(f"tokens {told} the expert with the largest share, averaged over layers", style="dim"))
