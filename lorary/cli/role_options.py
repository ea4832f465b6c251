"""The option for the roles of experts that a command uses if none are named."""

from jsonargparse import ArgumentParser, Namespace

# The roles besides "expert", repeated from ``experts`` (a test holds them equal): importing that room takes
# seconds, and help must appear at once.
ROLES = ("merge", "general", "control", "skill")


def add_role_option(parser: ArgumentParser) -> None:
    """Add the roles of further experts to use."""
    parser.add_argument(
        "--include",
        type=list[str] | str | None,
        metavar="ROLE[,ROLE…]",
        help=f"Also use experts with the role {', '.join(ROLES[:-1])} or {ROLES[-1]}, which "
        "are left out by default; all for all roles",
    )


def read_include(options: Namespace) -> list[str]:
    """Return the roles of ``--include``, without a check."""
    given = options.include or []
    words = [given] if isinstance(given, str) else given
    return [role.strip() for word in words for role in word.split(",")]
