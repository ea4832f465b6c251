"""Make the tutorial's notebook: its text and code are those of tutorial.md, its outputs those of one run.

    make notebook

It runs in a temporary folder, and copies the two pictures that the tutorial draws to docs/figures.
"""

import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

DOCS = Path(__file__).parent
PAGE, NOTEBOOK = DOCS / "tutorial.md", DOCS / "tutorial.ipynb"
PICTURES = {"clusters.png": "tutorial-clusters.png", "usage.png": "tutorial-usage.png"}
CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# Seconds for one cell.
TIMEOUT = 3600


def split_page(text: str) -> list[tuple[str, str]]:
    """Split a page into its parts in order: ``("markdown", text)`` and ``("code", code)``."""
    parts, end = [], 0
    for found in CODE.finditer(text):
        parts += [("markdown", text[end : found.start()]), ("code", found[1])]
        end = found.end()
    parts.append(("markdown", text[end:]))
    return [(kind, part.strip()) for kind, part in parts if part.strip()]


def make_notebook(text: str) -> NotebookNode:
    """Make a notebook of a page, without outputs."""
    makers = {"markdown": new_markdown_cell, "code": new_code_cell}
    cells = [makers[kind](part, id=f"cell-{number}") for number, (kind, part) in enumerate(split_page(text))]
    return new_notebook(cells=cells)


def clean(notebook: NotebookNode) -> None:
    """Remove what differs between machines: times, versions, and what was printed on stderr."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def main() -> None:
    """Run the tutorial, and write notebook and pictures."""
    notebook = make_notebook(PAGE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources).execute()
        for name, copy in PICTURES.items():
            shutil.copy(Path(folder, "runs/tutorial", name), DOCS / "figures" / copy)
    clean(notebook)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
