"""The tutorial's notebook has the code of its page, and the outputs of a run."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_notebook_is_that_of_the_page_and_was_run():
    page = (DOCS / "tutorial.md").read_text()
    blocks = [code.strip() for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    cells = json.loads((DOCS / "tutorial.ipynb").read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    # After a change of the page: make notebook
    assert ["".join(cell["source"]) for cell in codes] == blocks
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(blocks) + 1))
    outputs = [output for cell in codes for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    shown = json.dumps(outputs)
    assert shown.count("text/html") >= 5  # library, clusters, model, explanation, plan, result
    assert not re.search(r"/(tmp|root|home)/", shown)
    texts = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "".join(re.sub(r"^```python\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL).split()) == (
        "".join(texts.split())
    )
