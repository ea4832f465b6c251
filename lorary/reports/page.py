"""A self-contained HTML page: its frame, its sections, and a footer about the source of its numbers."""

from collections.abc import Mapping, Sequence

from lorary.evaluation.precision import say_precision
from lorary.evaluation.result import Result
from lorary.evaluation.route_text import describe_routes
from lorary.files import escape, escape_html
from lorary.reports.page_style import page_style
from lorary.reports.palette import expert_shades
from lorary.reports.routing_html import numbers_table
from lorary.reports.tables import result_grid

# Nothing is downloaded and no script runs, even if a model's text contains HTML.
CONTENT_POLICY = "default-src 'none';style-src 'unsafe-inline';base-uri 'none';form-action 'none'"

# Maximum number of characters of a fact in the footer.
LONGEST = 300


def make_page(title: str, body: str, names: Sequence[str]) -> str:
    """Build a page.

    Args:
        title: plain text.
        body: HTML.
        names: all experts, in the order of their colours.
    """
    heading = escape_html(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">'
        f"<title>{heading}</title>\n<style>{page_style(expert_shades(names))}</style></head>\n"
        f"<body><main><h1>{heading}</h1>\n{body}</main></body></html>\n"
    )


def make_section(heading: str, lead: str, content: str) -> str:
    """Put a heading and a sentence, both plain text, before a piece of HTML; ``""`` for empty content."""
    if not content:
        return ""
    opening = f'<p class="dim">{escape_html(lead)}</p>' if lead else ""
    return f"<section><h2>{escape_html(heading)}</h2>{opening}{content}</section>\n"


def result_section(result: Result | None) -> str:
    """Draw a table for each metric."""
    if result is None:
        return ""
    tables = "".join(numbers_table(result_grid(result, metric)) for metric in result.metrics)
    return make_section("Results", describe_routes(result.routes), tables)


def make_footer(result: Result | None) -> str:
    """Return a footer with versions, hardware and dates from the result's headers."""
    lines = []
    for header in result.headers if result is not None else ():
        facts = [escape(str(header[key]), longest=LONGEST) for key in ("date", "command") if key in header]
        facts += filter(None, [say_precision((header,))])
        versions = header.get("versions")
        # A result may come from anywhere, so its headers may have values of any type.
        if isinstance(versions, Mapping):
            facts += [escape(f"{name} {version}", longest=LONGEST) for name, version in versions.items()]
        lines.append(f"<div>{escape_html(' · '.join(facts))}</div>")
    return f"<footer>{''.join(lines)}</footer>" if lines else ""
