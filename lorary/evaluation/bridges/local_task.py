"""A task of lm-evaluation-harness whose documents come from a folder of JSON lines."""

from collections.abc import Mapping
from typing import Any

import pyarrow
from datasets import Dataset, DatasetDict, disable_progress_bars, enable_progress_bars
from datasets.utils import are_progress_bars_disabled
from jinja2 import TemplateError
from lm_eval.api.task import ConfigurableTask

from lorary.errors import DataError
from lorary.evaluation.bridges.data_folder import DataFolder, Rows
from lorary.files import quote, say_count

# What prompts of a row without a field, or with a value of another kind, end in.
ROW_FAULTS = (KeyError, IndexError, ValueError, TypeError, AttributeError, AssertionError, TemplateError)
# What rows end in that have no common types, or that are no Unicode text.
TYPE_FAULTS = (pyarrow.ArrowException, TypeError, OverflowError, UnicodeEncodeError)


class LocalTask(ConfigurableTask):
    """A task that reads ``dataset_kwargs["data_files"]`` of its configuration from a folder, without network.

    ``dataset_kwargs`` may also have ``select``, a field that must equal ``dataset_name``, and ``rename``, a
    mapping of fields to the names that the task uses.

    Args:
        config: the task's configuration, as in its YAML file.
        folder: the folder.

    Raises:
        DataError: if a file is missing, or has bad rows or too few.
    """

    def __init__(self, config: Mapping[str, Any], folder: DataFolder):
        self._folder = folder
        self._places: dict[str, tuple[str, ...]] = {}
        shows_bars = not are_progress_bars_disabled()
        disable_progress_bars()
        try:
            super().__init__(config=dict(config))
        except ROW_FAULTS as error:
            # Before a file is read, the configuration is at fault.
            if not self._places:
                raise
            raise DataError(f"{self._find_fault()}: {describe_fault(error)}") from error
        finally:
            if shows_bars:
                enable_progress_bars()
        self._check_shots()

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the documents of every split that the task uses."""
        told = dict(self.config.dataset_kwargs or {})
        fields, renamed = told.get("select"), dict(told.get("rename", {}))
        self.dataset = DatasetDict()
        for split, name in told["data_files"].items():
            rows = self._folder.read(name)
            chosen = _select(rows, fields, self.config.dataset_name)
            if not chosen.rows:
                raise DataError(
                    f"{quote(name)} must have rows whose field {quote(fields)} is "
                    f"{quote(self.config.dataset_name)}, for the task {quote(self.config.task)}; found none"
                )
            self.dataset[split] = _make_dataset(chosen, renamed)
            self._places[split] = chosen.places

    @property
    def split(self) -> str:
        """The split that is measured."""
        return str(self.config.test_split or self.config.validation_split)

    def find_place(self, number: int) -> str:
        """Return the file and line of a document, for messages."""
        places = self._places[self.split]
        return places[number] if number < len(places) else f"document {number} of {self.config.task}"

    def _find_fault(self) -> str:
        """Find the row that the harness could not use: it tries the first one, after it has processed all."""
        process = self.config.process_docs
        for number in range(len(self.dataset[self.split]) if callable(process) else 0):
            try:
                process(self.dataset[self.split].select([number]))
            except ROW_FAULTS:
                return self.find_place(number)
        return self.find_place(0)

    def _check_shots(self) -> None:
        shots = self.config.num_fewshot or 0
        known = len(self.fewshot_docs() or ()) if shots else 0
        if shots > known:
            raise DataError(
                f"task {quote(self.config.task)} must have {say_count(shots, 'example')} to put before a "
                f"question, found {known}: lower --lm_eval.num_fewshot"
            )


def _select(rows: Rows, field: str | None, value: str | None) -> Rows:
    if field is None:
        return rows
    kept = [index for index, row in enumerate(rows.rows) if row.get(field) == value]
    return Rows(tuple(rows.rows[index] for index in kept), tuple(rows.places[index] for index in kept))


def _make_dataset(rows: Rows, renamed: Mapping[str, str]) -> Dataset:
    named = [{renamed.get(name, name): value for name, value in row.items()} for row in rows.rows]
    try:
        return Dataset.from_list(named)
    except TYPE_FAULTS as error:
        place = rows.places[_count_good(named)]
        raise DataError(
            f"{place}: values must have the same types as in the rows before, and be Unicode text, but "
            f"{' '.join(str(error).split())}"
        ) from error


def _count_good(rows: list[dict[str, Any]]) -> int:
    """Count the rows before the first one that does not go with them, by halving."""
    good, bad = 0, len(rows)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            Dataset.from_list(rows[:middle])
            good = middle
        except TYPE_FAULTS:
            bad = middle
    return good


def describe_fault(error: Exception) -> str:
    """Describe why no prompt can be made from a row."""
    return f"no prompt can be made from the row ({type(error).__name__} {' '.join(str(error).split())})"
