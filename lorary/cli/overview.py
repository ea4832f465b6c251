"""The texts of ``lorary --help`` and ``lorary GROUP --help``."""

from lorary.cli.command_table import GROUPS, HEADINGS
from lorary.cli.help_text import wrap_rows, wrap_text
from lorary.routing import ROUTERS
from lorary.routing.uses import group_by_uses


def _list_routers() -> list[str]:
    return wrap_rows((str(uses), ", ".join(names)) for uses, names in group_by_uses(ROUTERS).items())


def format_overview(group: str | None) -> str:
    """List the commands of a group, or all commands if it is None, with their summaries."""
    program = f"lorary {group}" if group else "lorary"
    parts = {
        heading: {
            name.removeprefix(f"{group} ") if group else name: listing.summary
            for name, listing in listings.items()
            if group is None or name.startswith(f"{group} ")
        }
        for heading, listings in HEADINGS.items()
    }
    width = max(len(name) for rows in parts.values() for name in rows)
    lines = []
    for heading, rows in parts.items():
        if rows:
            lines += ["", f"{heading}:", *wrap_rows(rows.items(), width)]
    about = GROUPS[group] if group else "Build one language model from a library of LoRA experts."
    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            wrap_text(about),
            *lines,
            "",
            *(["Routers by what they use besides the request:", *_list_routers(), ""] if not group else []),
            wrap_text(
                f"{program} COMMAND --help shows the most common options and an example, --help-all "
                "shows all options; --debug shows the traceback of errors."
            ),
        ]
    )
