"""The README.md in an expert's folder: YAML metadata for hubs, and a description."""

import json

from lorary.experts.card import SEQ_2_SEQ
from lorary.experts.expert import Expert
from lorary.experts.roles import EXPERT, ROLES
from lorary.files import escape, escape_markdown, say_count
from lorary.files.markdown import fence

USAGE = """## Use

```python
import lorary

expert = lorary.read_peft("path/to/this/folder")
```

or only with PEFT:

```python
from peft import PeftModel
from transformers import {loader}

base = {loader}.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""


ON_TOP = """## Use

This adapter is what the expert adds to the general expert that it was trained on top of. Alone it is not the
expert: use it from a library that has both, or write the sum, which is a plain adapter, by `lorary export`.
"""


def render_model_card(expert: Expert) -> str:
    """Return the page of an expert.

    Texts of its card are escaped, so that they cannot make links, pictures, headings or HTML.

    Args:
        expert: the expert, with its card.

    Returns:
        Markdown with YAML front matter for hubs.
    """
    card = expert.card
    parts = [_render_front_matter(expert), f"# {escape_markdown(expert.name)}\n"]
    if description := escape_markdown(card.description):
        parts.append(description + "\n")
    parts.append(_render_facts(expert))
    loader = "AutoModelForSeq2SeqLM" if card.task_type == SEQ_2_SEQ else "AutoModelForCausalLM"
    usage = USAGE if card.on_top_of is None else ON_TOP
    parts.append(usage.format(base=_quote(expert.base_model or "the base model"), loader=loader))
    if card.scores:
        rows = [f"| {escape_markdown(name)} | {value:.6g} |" for name, value in card.scores.items()]
        parts.append("## Scores\n\n| measure | value |\n|---|---|\n" + "\n".join(rows) + "\n")
    if card.provenance:
        provenance = json.dumps(card.provenance, indent=2, ensure_ascii=False)
        parts.append("## Provenance\n\n" + fence(provenance, "json"))
    return "\n".join(parts)


def _render_front_matter(expert: Expert) -> str:
    tags = list(dict.fromkeys(["lora", "lorary", *expert.card.tags]))
    lines = ["---"]
    if expert.base_model:
        lines.append(f"base_model: {_quote(expert.base_model)}")
    pipeline = "text2text-generation" if expert.card.task_type == SEQ_2_SEQ else "text-generation"
    lines += ["library_name: peft", f"pipeline_tag: {pipeline}", "tags:"]
    lines += [f"- {_quote(tag)}" for tag in tags]
    return "\n".join([*lines, "---", ""])


def _render_facts(expert: Expert) -> str:
    card = expert.card
    facts = {
        "Role": "" if card.role == EXPERT else f"{card.role} ({ROLES[card.role]})",
        "On top of": "" if card.on_top_of is None else f"general expert, weights {card.on_top_of}",
        "Base model": expert.base_model or "not recorded",
        "Base revision": card.base_revision or "",
        "Tasks": ", ".join(card.tasks),
        "Parents": ", ".join(card.parents),
        "Kinds": ", ".join([*["low-rank"] * bool(expert.factors), *expert.kinds]) if expert.kinds else "",
        "Size": f"rank {expert.max_rank}, " * bool(expert.factors)
        + f"{say_count(len(expert.paths), 'module')}, {say_count(expert.num_parameters, 'number')}",
    }
    lines = [(title, escape_markdown(text)) for title, text in facts.items()]
    return "".join(f"- {title}: {text}\n" for title, text in lines if text)


def _quote(text: str) -> str:
    """Quote text as JSON, which is valid in YAML and Python."""
    return escape(json.dumps(text, ensure_ascii=False), keep="")
