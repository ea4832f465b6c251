"""Which experts the tokens of a text used, as coloured lines."""

from rich.text import Text

from lorary.assembly import Explanation
from lorary.cli.console import open_console
from lorary.files import escape

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
NUM_SHOWN = 6


def print_routing(explanation: Explanation, num_prompt_tokens: int) -> None:
    """Print the text, each token in the colour of the expert it used most, and the experts used most.

    Args:
        explanation: the routing of prompt and answer.
        num_prompt_tokens: how many of its tokens are the prompt's.
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
        experts.append(f"{len(order) - len(shown)} others {others:.0%}", style="dim")
    console = open_console(soft_wrap=True)
    console.print()
    console.print(Text("tokens   ", style="bold") + text)
    console.print(Text("experts  ", style="bold") + experts)
    console.print(
        Text("a token has the colour of the expert it used most, averaged over layers", style="dim")
    )
