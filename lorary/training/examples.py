"""What an expert is trained on, as tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from transformers import PreTrainedTokenizerBase

from lorary.data import Task, Template, subsample, tokenize_examples
from lorary.data.fitting import Truncation
from lorary.data.prompt_counts import PromptCounts
from lorary.data.tokens import TokenizedExample
from lorary.errors import DataError


@dataclass(frozen=True)
class TrainingExamples:
    """One expert's tokenised examples."""

    train: tuple[TokenizedExample, ...]
    """What it learns from."""
    validation: tuple[TokenizedExample, ...] = ()
    """What its early stop and best weights are chosen by."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks they come from."""
    counts: PromptCounts = field(default_factory=PromptCounts)
    """How many examples of both were left out or changed."""

    @cached_property
    def digest(self) -> str:
        """A hash of all tokens, by which a run is known again."""
        parts = [
            f"{name} {example.prompt_ids}{example.target_ids}"
            for name, part in (("train", self.train), ("validation", self.validation))
            for example in part
        ]
        return sha256("\n".join(parts).encode()).hexdigest()[:16]


def prepare_examples(
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, Task],
    template: Template,
    *,
    max_length: int = 512,
    truncation: Truncation = "prompt-middle",
    max_validation_examples: int = 32,
) -> dict[str, TrainingExamples]:
    """Tokenise the training and validation examples of each task.

    Args:
        tokenizer: the base model's.
        tasks: expert name -> what to train it on.
        template: how examples become prompts.
        max_length: most tokens of prompt and target together.
        truncation: what to do with longer ones; a target is never cut.
        max_validation_examples: how many validation examples to keep.

    Returns:
        Expert name -> tokens.

    Raises:
        DataError: if a task has no training example, or one is too long for the policy.
    """
    prepared = {}
    for name, task in tasks.items():
        if not task.splits.get("train"):
            raise DataError(f"task {task.name!r} has no training examples: it has {sorted(task.splits)} only")
        found = tokenize_examples(
            tokenizer, template, task, task.splits["train"], max_length=max_length, truncation=truncation
        )
        # By content hash, not the first ones: a mixture's first examples are all of one task.
        held_out = subsample(task.splits.get("validation", ()), max_validation_examples)
        validation = tokenize_examples(
            tokenizer, template, task, held_out, max_length=max_length, truncation=truncation
        )
        if not found.examples:
            raise DataError(
                f"task {task.name!r}: no training example fits in {max_length} tokens; raise max_length"
            )
        prepared[name] = TrainingExamples(
            train=found.examples,
            validation=validation.examples,
            tasks=(task.name,),
            counts=found.counts + validation.counts,
        )
    return prepared
