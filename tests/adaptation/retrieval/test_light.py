"""Help texts list the retrieval methods without PyTorch."""

import subprocess
import sys


def test_the_table_is_read_without_torch():
    code = (
        "import sys; from lorary.adaptation import RETRIEVALS; print('torch' in sys.modules, len(RETRIEVALS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 5\n"
