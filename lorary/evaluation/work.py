"""The texts of an evaluation, tokenised once for all routes, and the numbers they earn under one route."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lorary.assembly import RoutedModel
from lorary.data import Example, Task, Template, TokenizedExamples, tokenize_choices
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.decisions import Decisions
from lorary.evaluation.metrics import METRICS, choice_scores
from lorary.evaluation.result import Record
from lorary.evaluation.routes import Route
from lorary.evaluation.scoring import Item, Report, generate_answers, score_targets
from lorary.files import quote

CHOICE_METRICS = {
    "accuracy_sum": "sum",
    "accuracy_per_token": "per_token",
    "accuracy_per_byte": "per_byte",
}
ROW_LENGTH = 512
SHORTEST_ANSWER = 8


@dataclass(frozen=True)
class Question:
    """A prompt to be answered."""

    item: Item
    """Its tokens."""
    targets: tuple[str, ...]
    """The right answers."""
    is_one_line: bool
    """Whether the task's answers are one line each, so that an answer's first line counts."""


@dataclass(frozen=True)
class Choice:
    """A prompt with several answers to choose from."""

    items: tuple[Item, ...]
    """The prompt with each answer, as tokens."""
    example: Example
    """Where they come from."""


@dataclass(frozen=True)
class Work:
    """Everything to be run under each route, by what it is run for."""

    losses: tuple[Item, ...]
    """Targets whose loss is wanted."""
    questions: tuple[Question, ...]
    """Prompts to be answered."""
    choices: tuple[Choice, ...]
    """Choices to be made."""
    num_examples: Mapping[str, int]
    """Task -> examples that are measured."""
    num_too_long: Mapping[str, int]
    """Task -> examples left out because they are too long."""
    share: bool
    """Whether texts of one task share the cells of equal beginnings."""

    @property
    def offers(self) -> tuple[Item, ...]:
        """All choices' items, one choice after the other."""
        return tuple(item for choice in self.choices for item in choice.items)

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """All prompts, in no particular order; some stand several times."""
        items = (*self.losses, *(question.item for question in self.questions), *self.offers)
        return [item.tokens.prompt_ids for item in items]

    @property
    def num_units(self) -> int:
        """How much work one route is: tokens to score, and generated tokens at most."""
        scored = (*self.losses, *self.offers)
        generated = sum(question.item.max_new_tokens for question in self.questions)
        return sum(len(item.tokens) for item in scored) + generated


def prepare_work(
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, Task],
    template: Template,
    config: EvalConfig,
    *,
    share: bool = False,
) -> Work:
    """Choose and tokenise what the metrics need.

    Args:
        tokenizer: the base model's.
        tasks: what to measure on, by name.
        template: how examples become prompts.
        config: metrics and sizes.
        share: whether texts of one task may share the cells of equal beginnings.

    Raises:
        DataError: if a task has no example in the split, or none that fits.
        ValueError: if no example suits the metrics.
    """
    parts = [_prepare_task(tokenizer, name, task, template, config) for name, task in tasks.items()]
    work = Work(
        losses=tuple(item for part in parts for item in part.losses),
        questions=tuple(question for part in parts for question in part.questions),
        choices=tuple(choice for part in parts for choice in part.choices),
        num_examples={name: number for part in parts for name, number in part.num_examples.items()},
        num_too_long={name: number for part in parts for name, number in part.num_too_long.items()},
        share=share,
    )
    if not (work.losses or work.questions or work.choices):
        raise ValueError(
            f"the metrics {quote(list(config.metrics))} suit no example of the tasks {quote(sorted(tasks))}: "
            "accuracies need examples with choices"
        )
    return work


def measure_route(
    model: RoutedModel, route: Route, work: Work, config: EvalConfig, report: Report
) -> list[Record]:
    """Run all work under one route, which must be applied already."""
    decisions = route.decide(
        model,
        work.prompts,
        tokens_per_pass=config.tokens_per_pass,
        row_length=ROW_LENGTH,
        share=work.share,
    )
    run = _Run(model, route.name, decisions, work, config, report)
    return [*run.measure_losses(), *run.measure_answers(), *run.measure_choices()]


def _prepare_task(
    tokenizer: PreTrainedTokenizerBase, name: str, task: Task, template: Template, config: EvalConfig
) -> Work:
    kept, found = choose_examples(tokenizer, name, task, template, config)
    metrics = set(config.metrics)
    wants_answers = any(METRICS[metric].score_text is not None for metric in metrics)
    return Work(
        losses=tuple(Item(name, tokens) for tokens in found.examples) if "loss" in metrics else (),
        questions=_ask(name, found, kept, config) if wants_answers else (),
        choices=tuple(
            _offer(tokenizer, name, task, template, example, config)
            for example in kept
            if example.choices is not None and metrics & CHOICE_METRICS.keys()
        ),
        num_examples={name: len(kept)},
        num_too_long={name: found.num_skipped},
        share=False,
    )


def _ask(
    name: str, found: TokenizedExamples, examples: Sequence[Example], config: EvalConfig
) -> tuple[Question, ...]:
    is_one_line = not any("\n" in target for example in examples for target in example.targets)
    # Up to twice the longest target: a model that never stops costs no more than that.
    longest = max(len(tokens.target_ids) for tokens in found.examples)
    limit = min(config.max_new_tokens, max(SHORTEST_ANSWER, 1 << longest.bit_length()))
    return tuple(
        Question(Item(name, tokens, limit), example.targets, is_one_line)
        for tokens, example in zip(found.examples, examples, strict=True)
    )


def _offer(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    task: Task,
    template: Template,
    example: Example,
    config: EvalConfig,
) -> Choice:
    # The prompt may have to make room for a longer choice than the right one.
    truncation = "prompt-middle" if config.truncation == "skip" else config.truncation
    options = tokenize_choices(
        tokenizer, template, task, example, max_length=config.max_length, truncation=truncation
    )
    return Choice(tuple(Item(name, option) for option in options), example)


@dataclass(frozen=True)
class _Run:
    """All work under one route."""

    model: RoutedModel
    route: str
    decisions: Decisions
    work: Work
    config: EvalConfig
    report: Report

    def measure_losses(self) -> list[Record]:
        items = self.work.losses
        return [
            Record(item.task, self.route, "loss", total / len(item.tokens.target_ids))
            for item, total in zip(items, self._score(items), strict=True)
        ]

    def measure_answers(self) -> list[Record]:
        items = [question.item for question in self.work.questions]
        answers = generate_answers(
            self.model, self.decisions, items, batch_size=self.config.batch_size, report=self.report
        )
        records = []
        for question, answer in zip(self.work.questions, answers, strict=True):
            text = answer.strip().partition("\n")[0] if question.is_one_line else answer
            for metric in self.config.metrics:
                score = METRICS[metric].score_text
                if score is not None:
                    value = score(text, question.targets)
                    records.append(Record(question.item.task, self.route, metric, value))
        return records

    def measure_choices(self) -> list[Record]:
        sums = iter(self._score(self.work.offers))
        records = []
        for choice in self.work.choices:
            texts = choice.example.choices or ()
            chosen = choice_scores(
                [-next(sums) for _ in choice.items],
                [len(item.tokens.target_ids) for item in choice.items],
                [len(text.encode()) for text in texts],
            )
            for metric in self.config.metrics:
                if metric in CHOICE_METRICS:
                    is_right = texts[chosen[CHOICE_METRICS[metric]]] == choice.example.targets[0]
                    records.append(Record(choice.items[0].task, self.route, metric, float(is_right)))
        return records

    def _score(self, items: Sequence[Item]) -> list[float]:
        return score_targets(
            self.model,
            self.decisions,
            items,
            tokens_per_pass=self.config.tokens_per_pass,
            row_length=ROW_LENGTH,
            share=self.work.share,
            report=self.report,
        )
