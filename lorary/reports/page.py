"""One self-contained HTML page: its frame, its sections, and where its numbers come from."""

from collections.abc import Mapping, Sequence

from lorary.evaluation.result import Result
from lorary.files import escape
from lorary.reports.page_style import page_style
from lorary.reports.palette import expert_shades
from lorary.reports.routing_html import escape_html, numbers_table
from lorary.reports.tables import result_grid

# Nothing is fetched and nothing runs, whatever text a model wrote.
CONTENT_POLICY = "default-src 'none';style-src 'unsafe-inline';base-uri 'none';form-action 'none'"

# Characters of a fact in the footer.
LONGEST = 300


def make_page(title: str, body: str, names: Sequence[str]) -> str:
    """Put the parts of a page into their frame.

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
    """Put a heading and a sentence, both plain text, before a piece of HTML; nothing before nothing."""
    if not content:
        return ""
    opening = f'<p class="dim">{escape_html(lead)}</p>' if lead else ""
    return f"<section><h2>{escape_html(heading)}</h2>{opening}{content}</section>\n"


def result_section(result: Result | None) -> str:
    """Draw a table per metric."""
    if result is None:
        return ""
    tables = "".join(numbers_table(result_grid(result, metric)) for metric in result.metrics)
    return make_section("Results", "", tables)


def make_footer(result: Result | None) -> str:
    """Say with what the numbers were made."""
    lines = []
    for header in result.headers if result is not None else ():
        facts = [escape(str(header[key]), longest=LONGEST) for key in ("date", "command") if key in header]
        versions = header.get("versions")
        # Whoever wrote a result may have put anything there.
        if isinstance(versions, Mapping):
            facts += [escape(f"{name} {version}", longest=LONGEST) for name, version in versions.items()]
        lines.append(f"<div>{escape_html(' · '.join(facts))}</div>")
    return f"<footer>{''.join(lines)}</footer>" if lines else ""
