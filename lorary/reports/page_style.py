"""The style sheet of pages, for light and dark mode, narrow and wide screens."""

from collections.abc import Sequence

from lorary.reports.palette import (
    DARK_BELOW,
    DARK_PAGE,
    DARK_TEXT,
    LIGHT_BELOW,
    LIGHT_PAGE,
    LIGHT_TEXT,
    Shades,
    heat_shades,
)

LIGHT_SCHEME = (
    f"--card:{LIGHT_PAGE};--text:{LIGHT_TEXT};--page:#f4f6f9;--dim:#5a6472;--line:#dde2ea;"
    "--good:#0a6b3d;--bad:#a3281c;"
)
DARK_SCHEME = (
    f"--card:{DARK_PAGE};--text:{DARK_TEXT};--page:#0e1116;--dim:#9aa5b4;--line:#2b323d;"
    "--good:#6fd39b;--bad:#ff9b8a;"
)

LAYOUT = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .5rem}
h2{font-size:1.15rem;margin:2.25rem 0 .35rem}
h3{font-size:.95rem;margin:0;font-weight:600}
p{margin:.25rem 0 .75rem;max-width:46rem}
.dim,figcaption{color:var(--dim);font-size:.875rem}
section>.dim{margin-top:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:1rem 1.15rem;margin:0 0 1rem}
.scroll{overflow-x:auto;padding:0}
.scroll:focus-visible{outline:2px solid #3b82f6}
table{border-collapse:separate;border-spacing:0;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.34rem .7rem;text-align:right;white-space:nowrap}
th:first-child{text-align:left;position:sticky;left:0;background:var(--card);font-weight:500;z-index:1;
max-width:16rem;overflow:hidden;text-overflow:ellipsis}
.numbers{width:100%}
.numbers thead th{color:var(--dim);font-weight:600;padding-top:.7rem}
.numbers thead tr.dim>*{padding-top:0;font-weight:400}
.numbers thead tr:last-child>*{border-bottom:1px solid var(--line)}
.numbers tbody th{white-space:normal;overflow-wrap:break-word;min-width:8.4rem}
.numbers tbody tr:last-child>*{padding-bottom:.6rem}
.numbers tfoot>tr>*{border-top:1px solid var(--line);padding-top:.6rem;padding-bottom:.6rem}
.numbers tfoot th{white-space:normal}
.numbers small{color:var(--dim);font-weight:400}
.best{color:var(--good);font-weight:700}
caption{caption-side:top;text-align:left;font-weight:600;padding:.8rem .7rem 0}
.legend{display:flex;flex-wrap:wrap;gap:.4rem .5rem;border:0;margin:0 0 1rem;padding:0;min-width:0}
.legend label{display:inline-flex;align-items:center;gap:.4rem;padding:.16rem .65rem .16rem .45rem;
border-radius:99px;
border:1px solid var(--line);background:var(--card);font-size:.85rem;cursor:pointer;max-width:100%}
.legend span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.legend input{position:absolute;opacity:0;pointer-events:none}
.legend label:has(:checked){border-color:var(--text);box-shadow:0 0 0 1px var(--text)}
.legend label:has(:focus-visible){outline:2px solid #3b82f6;outline-offset:2px}
.legend i{flex:none;width:.8rem;height:.8rem;border-radius:50%;background:var(--s)}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1rem}
.sample{margin:0;display:flex;flex-direction:column}
.sample .bar{margin-top:auto}
.sample .tokens:last-of-type{margin-bottom:1rem}
.sample{overflow-wrap:anywhere}
.sample h3{margin-bottom:.5rem}
.tokens{font:.92rem/2 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere;margin:0 0 .5rem;max-width:none}
.who{display:block;color:var(--dim);font-size:.75rem;letter-spacing:.05em;text-transform:uppercase}
.tok{white-space:pre-wrap;padding:.14em 0;border-radius:2px;unicode-bidi:isolate;background:var(--t);
background:color-mix(in srgb,var(--t) var(--p,0%),transparent);
box-shadow:inset 0 -2px color-mix(in srgb,var(--s) var(--p,0%),transparent);
border-right:1px solid var(--card)}
.right{color:var(--good)}
.wrong{color:var(--bad)}
.who b{margin-left:.5rem;text-transform:none;letter-spacing:0}
.plain-text{white-space:pre-wrap;unicode-bidi:isolate}
.scale{display:flex;align-items:center;gap:.5rem;margin:0 0 .6rem;color:var(--dim);font-size:.8rem;
font-variant-numeric:tabular-nums}
.scale b{display:flex;border:1px solid var(--line);border-radius:3px;overflow:hidden}
.scale i{width:.7rem;height:.7rem}
.scores{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:1rem}
.scores .card{margin:0}
.scores h3{display:flex;justify-content:space-between;gap:.5rem;margin-bottom:.4rem;overflow-wrap:anywhere}
.scores h3 .dim{white-space:nowrap;font-weight:400}
.scores dl{display:grid;grid-template-columns:minmax(0,9rem) 1fr max-content;gap:.15rem .6rem;margin:0;
align-items:center;font-size:.85rem;font-variant-numeric:tabular-nums}
.scores dt{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.scores dd{margin:0}
.scores dd i{display:block;height:.7rem;border-radius:3px;background:var(--s);min-width:2px}
.bar{display:flex;height:.6rem;border-radius:99px;overflow:hidden;margin:.75rem 0 .35rem;gap:1px}
.bar i{background:var(--s)}
.heat td{padding:.3rem 0;text-align:center;min-width:2.5rem;border:1px solid var(--card);border-radius:4px}
.dense{font-size:.78rem}
.dense td{min-width:2rem;padding:.18rem 0}
.heat thead th:not(:first-child){vertical-align:bottom;padding:.7rem 0 .4rem;
text-align:center;font-weight:500}
.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:10rem;overflow:hidden;
text-overflow:ellipsis}
.heat .own{outline:2px solid var(--text);outline-offset:-3px;font-weight:700}
.heat .nil{color:var(--dim)}
.heat{padding:.1rem .4rem .6rem .4rem}
.layers{padding:1rem 1.15rem .6rem .6rem}
.layers svg{display:block}
.layers text{fill:var(--dim);font:11px system-ui,sans-serif}
.plain{fill:#5b9bd8}
.tree{padding:.4rem .6rem}
.tree svg{display:block}
.tree polyline{fill:none;stroke:var(--dim);stroke-width:1.4}
.tree text{fill:var(--text);font:12.5px system-ui,sans-serif}
.tree .tick{fill:var(--dim);font-size:11px}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .9rem;margin:.4rem 0 0;font-size:.9rem}
.facts dt{color:var(--dim)}
.facts dd{margin:0;overflow-wrap:anywhere}
figure{margin:0}
footer{margin-top:2.5rem;color:var(--dim);font-size:.8rem;overflow-wrap:anywhere}
@media(max-width:600px){main{padding:1.25rem .8rem 3rem}h1{font-size:1.4rem}.card:not(.scroll){padding:.8rem}
th,td{padding:.3rem .45rem}th:first-child{max-width:8.5rem}caption{padding-left:.45rem}}
@media(prefers-reduced-motion:no-preference){.tok,.bar i{transition:opacity .15s}}
@media print{body{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def page_style(shades: Sequence[Shades]) -> str:
    """Return the style sheet of a page with these experts; expert ``i`` has the class ``xi``."""
    light = [f".x{i}{{--t:{shade.light_fill};--s:{shade.light_line}}}" for i, shade in enumerate(shades)]
    dark = [f".x{i}{{--t:{shade.dark_fill};--s:{shade.dark_line}}}" for i, shade in enumerate(shades)]
    for letter, heat in (("h", heat_shades()), ("n", heat_shades(LIGHT_BELOW, DARK_BELOW))):
        light += [f".{letter}{i}{{background:{pair[0]}}}" for i, pair in enumerate(heat)]
        dark += [f".{letter}{i}{{background:{pair[1]}}}" for i, pair in enumerate(heat)]
    fills = [f"rect.x{i}{{fill:var(--s)}}" for i in range(len(shades))]
    # Choosing an expert in the legend fades the tokens and bars of all others, without a script.
    coloured = ":is(.tok,.bar i,.scores dd[class],.layers rect[class^=x])"
    picks = [f"body:has(#pick{i}:checked) {coloured}:not(.x{i}){{opacity:.2}}" for i in range(len(shades))]
    return "\n".join(
        [
            f":root{{color-scheme:light dark;{LIGHT_SCHEME}}}",
            *light,
            f"@media(prefers-color-scheme:dark){{:root{{{DARK_SCHEME}}}",
            *dark,
            "}",
            LAYOUT.strip(),
            *fills,
            *picks,
        ]
    )
