"""The requests of an evaluation: gathered from all measures, and tokenised once for all routes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from lorary.data import Example, Task, Template, TokenizedExample
from lorary.data.prompt_counts import PromptCounts
from lorary.data.tokens import tokenize_answers
from lorary.data.turns import drop_thoughts
from lorary.evaluation.chosen_examples import ChosenExamples, choose_examples, identify_examples
from lorary.evaluation.columns import Record
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.items import Item
from lorary.evaluation.measures import (
    Likelihood,
    Measure,
    Response,
    Score,
    find_measures,
)
from lorary.evaluation.predictions import Prediction
from lorary.evaluation.scoring import Scored
from lorary.files import quote

SHORTEST_ANSWER = 8


@dataclass(frozen=True)
class ScorePlaces:
    """The place of the response to a ``Score``."""

    indices: tuple[int, ...]
    """Index of each answer among the pool's scores."""


@dataclass(frozen=True)
class AnswerPlace:
    """The place of the response to a ``Generate``."""

    index: int
    """Index among the pool's answers."""
    is_one_line: bool
    """Whether the response is the answer's first line."""


@dataclass(frozen=True)
class Question:
    """The requests of one measure about one example."""

    task: str
    """The task's name."""
    example: Example
    """The example."""
    example_id: str
    """The example's id in results."""
    measure: Measure
    """The measure that grades the responses."""
    places: tuple[ScorePlaces | AnswerPlace, ...]
    """The place of the response to each request."""


@dataclass(frozen=True)
class RequestPool:
    """All texts that run under each route, and the requests that they belong to."""

    questions: tuple[Question, ...]
    """The questions, sorted by measure, then by task, then by example."""
    scores: tuple[Item, ...]
    """Prompts with answers whose likelihoods are requested, all different."""
    answers: tuple[Item, ...]
    """Prompts whose answers are requested, all different."""
    num_examples: Mapping[str, int]
    """Task -> number of measured examples."""
    counts: Mapping[str, PromptCounts]
    """Task -> numbers of its examples that were left out or changed."""

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """All prompts, in no particular order; a prompt may occur several times."""
        return [item.request for item in (*self.scores, *self.answers)]

    @property
    def num_units(self) -> int:
        """The work of one route: the number of scored tokens plus the maximum of generated tokens."""
        return sum(item.num_units for item in (*self.scores, *self.answers))

    def grade(
        self, route: str, scored: Sequence[Scored], answers: Sequence[str], metrics: Sequence[str]
    ) -> Iterator[Record]:
        """Grade the responses of one route by the measures.

        Args:
            route: the route's name.
            scored: the model's score of each of ``scores``.
            answers: the generated answer to each of ``answers``.
            metrics: the requested metrics; other metrics of a measure are left out.

        Yields:
            The value of each example and metric.

        Raises:
            ValueError: if a measure does not return its metrics.
        """
        for question in self.questions:
            responses = [self._find_response(place, scored, answers) for place in question.places]
            values = question.measure.grade(question.example, responses)
            _check_values(question.measure, values)
            for metric in metrics:
                if metric in values:
                    yield Record(question.task, route, metric, values[metric], question.example_id)

    def predict(
        self, route: str, scored: Sequence[Scored], answers: Sequence[str], metrics: Sequence[str]
    ) -> Iterator[Prediction]:
        """List the responses of one route to each question; arguments as for ``grade``."""
        for question in self.questions:
            responses = [self._find_response(place, scored, answers) for place in question.places]
            values = question.measure.grade(question.example, responses)
            yield Prediction(
                task=question.task,
                id=question.example_id,
                route=route,
                prompts=(question.example.input,),
                targets=question.example.targets,
                responses=[
                    response if isinstance(response, str) else [each.log_likelihood for each in response]
                    for response in responses
                ],
                values={metric: values[metric] for metric in metrics if metric in values},
            )

    def _find_response(
        self, place: ScorePlaces | AnswerPlace, scored: Sequence[Scored], answers: Sequence[str]
    ) -> Response:
        if isinstance(place, AnswerPlace):
            answer = answers[place.index]
            return drop_thoughts(answer).strip().partition("\n")[0] if place.is_one_line else answer
        return tuple(
            Likelihood(-scored[index].loss, len(self.scores[index].tokens.target_ids))
            for index in place.indices
        )


def gather_requests(
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, Task],
    template: Template,
    config: EvalConfig,
    *,
    is_encoder_decoder: bool = False,
) -> RequestPool:
    """Choose examples, gather the requests of all measures about them, and tokenise these.

    Args:
        tokenizer: the base model's.
        tasks: name -> task.
        template: turns examples into prompts.
        config: the configuration.
        is_encoder_decoder: whether the base model has an encoder, see ``BaseModel.is_encoder_decoder``.

    Raises:
        DataError: if a task has no example in the split, or none that fits.
        ValueError: if the metrics apply to no example.
    """
    kind = {"is_encoder_decoder": is_encoder_decoder}
    chosen = {
        name: choose_examples(tokenizer, name, task, template, config, **kind) for name, task in tasks.items()
    }
    builders = [
        _TaskBuilder(tokenizer, name, tasks[name], template, config, found, is_encoder_decoder)
        for name, found in chosen.items()
    ]
    scores: dict[Item, int] = {}
    answers: dict[Item, int] = {}
    questions = tuple(
        question
        for measure in find_measures(config.metrics)
        for builder in builders
        for question in builder.ask(measure, scores, answers)
    )
    if not questions:
        raise ValueError(
            f"the metrics {quote(list(config.metrics))} must apply to at least one example of the tasks "
            f"{quote(sorted(tasks))}, found none: accuracies need examples with choices"
        )
    return RequestPool(
        questions=questions,
        scores=tuple(scores),
        answers=tuple(answers),
        num_examples={name: len(found.examples) for name, found in chosen.items()},
        counts={
            name: replace(found.tokens.counts, num_cut=_count_cut(name, (*scores, *answers)))
            for name, found in chosen.items()
        },
    )


@dataclass(frozen=True)
class _TaskBuilder:
    """Turns the requests about one task's examples into items."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    task: Task
    template: Template
    config: EvalConfig
    chosen: ChosenExamples
    is_encoder_decoder: bool

    def ask(self, measure: Measure, scores: dict[Item, int], answers: dict[Item, int]) -> Iterator[Question]:
        """Yield a measure's questions about every example; add new items to ``scores`` and ``answers``."""
        is_one_line = not any("\n" in target for each in self.chosen.examples for target in each.targets)
        ids = identify_examples(self.chosen.examples)
        limit = self._choose_answer_limit()
        for index, example in enumerate(self.chosen.examples):
            places: list[ScorePlaces | AnswerPlace] = []
            for request in measure.requests(example):
                if isinstance(request, Score):
                    items = [Item(self.name, tokens) for tokens in self._tokenize(index, request)]
                    places.append(ScorePlaces(_place_items(items, scores)))
                else:
                    first_line = is_one_line and not request.whole
                    item = self._build_prompt(index, request.max_new_tokens or limit, first_line)
                    (place,) = _place_items([item], answers)
                    places.append(AnswerPlace(place, first_line))
            if places:
                yield Question(self.name, example, ids[index], measure, tuple(places))

    def _tokenize(self, index: int, request: Score) -> Sequence[TokenizedExample]:
        example = self.chosen.examples[index]
        if request == Score((example.targets[0],), ends=True):
            return [self.chosen.tokens.examples[index]]
        # An answer may be longer than the target, so the prompt may have to be cut further.
        truncation = "prompt-middle" if self.config.truncation == "skip" else self.config.truncation
        return tokenize_answers(
            self.tokenizer,
            self.template,
            self.task,
            example,
            request.answers,
            max_length=self.config.max_length,
            truncation=truncation,
            eos=request.ends,
            is_encoder_decoder=self.is_encoder_decoder,
        )

    def _build_prompt(self, index: int, max_new_tokens: int, first_line: bool) -> Item:
        tokens = self.chosen.tokens.examples[index]
        prompt = TokenizedExample(tokens.prompt_ids, (), tokens.num_cut)
        return Item(self.name, prompt, max_new_tokens, first_line)

    def _choose_answer_limit(self) -> int:
        # At most about twice the longest target, to limit the time if a model does not stop.
        longest = max(len(tokens.target_ids) for tokens in self.chosen.tokens.examples)
        return min(self.config.max_new_tokens, max(SHORTEST_ANSWER, 1 << longest.bit_length()))


def _place_items(items: Iterable[Item], known: dict[Item, int]) -> tuple[int, ...]:
    """Return each item's index among the known ones; new ones are added."""
    return tuple(known.setdefault(item, len(known)) for item in items)


def _count_cut(task: str, items: Iterable[Item]) -> int:
    """Count a task's shortened prompts; the choices of a question share one prompt."""
    return len({item.tokens.prompt_ids for item in items if item.task == task and item.tokens.num_cut})


def _check_values(measure: Measure, values: Mapping[str, float]) -> None:
    promised = {metric.name for metric in measure.metrics}
    if values.keys() != promised:
        raise ValueError(
            f"measure {type(measure).__name__} must return the metrics {quote(sorted(promised))}, found "
            f"{quote(sorted(values))}"
        )
