"""The texts of ``lorary --help`` and ``lorary GROUP --help``."""

from lorary.cli.command_table import COMMANDS, GROUPS


def format_overview(group: str | None) -> str:
    """List the commands of a group, or all commands if it is None, with their summaries."""
    program = f"lorary {group}" if group else "lorary"
    lines = {
        name.removeprefix(f"{group} ") if group else name: listing.summary
        for name, listing in COMMANDS.items()
        if group is None or name.startswith(f"{group} ")
    }
    width = max(map(len, lines)) + 2
    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            GROUPS[group] if group else "Build one language model from a library of LoRA experts.",
            "",
            *(f"  {name:<{width}}{summary}" for name, summary in lines.items()),
            "",
            f"{program} COMMAND --help shows options and an example; --debug shows the traceback of errors.",
        ]
    )
