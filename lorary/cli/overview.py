"""The texts of ``lorary --help`` and ``lorary GROUP --help``."""

from lorary.cli.command_table import COMMANDS, GROUPS
from lorary.cli.help_text import wrap_rows, wrap_text
from lorary.routing import ROUTERS
from lorary.routing.uses import group_by_uses


def _list_routers() -> list[str]:
    return wrap_rows((str(uses), ", ".join(names)) for uses, names in group_by_uses(ROUTERS).items())


def format_overview(group: str | None) -> str:
    """List the commands of a group, or all commands if it is None, with their summaries."""
    program = f"lorary {group}" if group else "lorary"
    lines = {
        name.removeprefix(f"{group} ") if group else name: listing.summary
        for name, listing in COMMANDS.items()
        if group is None or name.startswith(f"{group} ")
    }
    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            wrap_text(GROUPS[group] if group else "Build one language model from a library of LoRA experts."),
            "",
            *wrap_rows(lines.items()),
            "",
            *(["Routers by what they use besides the request:", *_list_routers(), ""] if not group else []),
            wrap_text(
                f"{program} COMMAND --help shows options and an example; --debug shows the traceback of "
                "errors."
            ),
        ]
    )
