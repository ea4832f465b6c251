"""What only shows numbers brings nothing that draws or runs a model."""

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "nltk", "scipy", "sklearn", "torch"}


@pytest.mark.parametrize(
    "imports",
    ["lorary.evaluation", "lorary.reports", "lorary.reports.tables", "lorary.reports.routing_picture"],
)
def test_importing_brings_nothing_heavy(imports):
    code = f"import sys, {imports}; print(sorted({HEAVY} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_unknown_name_is_refused():
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from lorary.reports import nothing  # noqa: F401
