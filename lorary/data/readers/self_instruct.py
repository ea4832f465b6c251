"""Self-Instruct's rows: an instruction and several inputs, each with its output.

Source: Self-Instruct, arXiv:2212.10560.
"""

from collections.abc import Mapping, Sequence

from lorary.data.readers.alpaca import read_alpaca
from lorary.data.readers.row_format import Row, RowFormat, has_keys, take_text
from lorary.files import quote


def part_instances(row: Row) -> Sequence[Row]:
    """Return a row of Alpaca's kind for each instance."""
    instances = row.get("instances")
    if not isinstance(instances, list | tuple) or not all(isinstance(one, Mapping) for one in instances):
        raise ValueError(f"'instances' must be a list of {{'input', 'output'}}, not {quote(instances, 60)}")
    instruction = take_text(row, "instruction")
    return [
        {"instruction": instruction, "input": one.get("input") or "", "output": one.get("output")}
        for one in instances
    ]


SELF_INSTRUCT = RowFormat(
    keys="instruction, instances [{input, output}]",
    meaning="one example per instance, read as `alpaca` reads it",
    example={"instruction": "Reverse the word.", "instances": [{"input": "abc", "output": "cba"}]},
    matches=has_keys("instruction", "instances"),
    part=part_instances,
    read=read_alpaca,
)
