"""The tokenised examples that an expert is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from transformers import PreTrainedTokenizerBase

from lorary.data import Example, Task, TaskLike, Template, gather_tasks, subsample, tokenize_examples
from lorary.data.fitting import Truncation
from lorary.data.prompt_counts import PromptCounts
from lorary.data.tokens import TokenizedExample, TokenizedExamples
from lorary.errors import DataError
from lorary.files import say_count


@dataclass(frozen=True)
class TrainingExamples:
    """One expert's tokenised examples."""

    train: tuple[TokenizedExample, ...]
    """Training examples."""
    validation: tuple[TokenizedExample, ...] = ()
    """Examples for validation losses, which choose the best weights and stop the training early."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks that the examples come from."""
    counts: PromptCounts = field(default_factory=PromptCounts)
    """Numbers of examples that were left out or changed."""

    spent_tokens: int = 0
    """Tokens of the budget that were used before training, for example to choose a start; the training is
    shortened by this number."""
    order: str | None = None
    """The name that determines the order of the training examples, so that several trainings on them use
    the same batches; None: the unit's own name."""

    @cached_property
    def digest(self) -> str:
        """A hash of all tokens, number of tokens used before, and order; it identifies the run's data."""
        parts = [
            f"{name} {example.prompt_ids}{example.target_ids}"
            for name, part in (("train", self.train), ("validation", self.validation))
            for example in part
        ]
        if self.spent_tokens:
            parts.append(f"spent {self.spent_tokens}")
        if self.order is not None:
            parts.append(f"order {self.order}")
        return sha256("\n".join(parts).encode()).hexdigest()[:16]


def prepare_examples(
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, TaskLike],
    template: Template,
    *,
    max_length: int = 512,
    truncation: Truncation = "prompt-middle",
    max_validation_examples: int = 32,
    is_encoder_decoder: bool = False,
) -> dict[str, TrainingExamples]:
    """Tokenise the training and validation examples of each task.

    Args:
        tokenizer: the base model's.
        tasks: expert name -> the task that it is trained on, or what ``read_task`` reads: a data set of
            ``datasets``, a list of dictionaries, a table of pandas, a path.
        template: turns examples into prompts.
        max_length: maximum number of tokens of prompt and target together.
        truncation: how longer examples are truncated or left out; a target is never truncated.
        max_validation_examples: maximum number of validation examples.
        is_encoder_decoder: whether the base model has an encoder, see ``BaseModel.is_encoder_decoder``.

    Returns:
        Expert name -> its examples.

    Raises:
        DataError: if a task has no training example, or all are too long, or one is too long and
            ``truncation`` is ``"error"``.
    """

    def tokenize(examples: Sequence[Example], task: Task) -> TokenizedExamples:
        return tokenize_examples(
            tokenizer,
            template,
            task,
            examples,
            max_length=max_length,
            truncation=truncation,
            is_encoder_decoder=is_encoder_decoder,
        )

    prepared = {}
    for name, task in gather_tasks(tasks).items():
        if not task.splits.get("train"):
            raise DataError(
                f"task {task.name!r} must have training examples, found only splits {sorted(task.splits)}"
            )
        found = tokenize(task.splits["train"], task)
        # Chosen by a hash of their content, since the first examples of a mixture all belong to one task.
        held_out = subsample(task.splits.get("validation", ()), max_validation_examples)
        validation = tokenize(held_out, task)
        if not found.examples:
            raise DataError(
                f"task {task.name!r} must have a training example of at most "
                f"{say_count(max_length, 'token')}, found "
                "none: raise max_length"
            )
        prepared[name] = TrainingExamples(
            train=found.examples,
            validation=validation.examples,
            tasks=(task.name,),
            counts=found.counts + validation.counts,
        )
    return prepared
