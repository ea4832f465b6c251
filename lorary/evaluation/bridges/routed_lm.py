"""lorary's model as a language model of lm-evaluation-harness."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from typing import Any

from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    resolve_max_length,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lorary.assembly import RoutedModel
from lorary.data import TokenizedExample
from lorary.errors import DataError
from lorary.evaluation.bridges.questions import find_questions
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.items import Draw, Item, Prompt
from lorary.evaluation.responding import Responder
from lorary.evaluation.routes import Route
from lorary.files import quote

Pair = tuple[Prompt, Prompt]
"""Tokens of a context and of its continuation."""
Owned = tuple[int, Item]
"""The place of a request, and an item of it."""
KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}


class RoutedLM(TemplateLM):
    """A route on a model, as a language model of lm-evaluation-harness.

    A request router decides once for each document, from the common prefix of its contexts.
    Texts of one task with the same experts share the computation of common prefixes. Contexts
    that are too long lose their beginnings, as in the harness.

    Args:
        model: the model; it is not changed.
        route: the route.
        config: sizes of passes and batches.
        max_length: maximum number of tokens that the model reads; None for what its configuration says.
        max_new_tokens: maximum number of tokens of an answer; None for each task's own.
        template_args: arguments of the chat template.
        responder: runs the requests; None for a new one. One for all routes shares what it has stored.

    Raises:
        DataError: if the tokenizer has no end-of-text token.
    """

    def __init__(
        self,
        model: RoutedModel,
        route: Route,
        config: EvalConfig | None = None,
        *,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        template_args: Mapping[str, Any] | None = None,
        responder: Responder | None = None,
    ):
        super().__init__()
        if model.tokenizer.eos_token_id is None:
            raise DataError(
                f"the tokenizer of base model {quote(model.base.name)} must have an end-of-text token, found "
                "none: add eos_token to its tokenizer_config.json"
            )
        self.model = model
        self.route = route
        """The route; it may be replaced by another one between calls."""
        self.tokenizer = model.tokenizer
        self.backend = "seq2seq" if model.base.is_encoder_decoder else "causal"
        self.max_length = max_length or resolve_max_length(model.model.config, self.tokenizer)
        self.num_cut: Counter[str] = Counter()
        """Task -> number of its requests whose contexts lost their beginnings."""
        self._prepared: dict[str, tuple[list[Instance], list[Owned]]] = {}
        self._device = model.device
        self._max_new_tokens = max_new_tokens
        self._template_args = dict(template_args or {})
        self._responder = responder or Responder(model, config or EvalConfig())

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def max_gen_toks(self) -> int:
        """Maximum tokens of an answer if a task does not say."""
        return 256

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokenise a text as the harness does: a begin-of-text token that it has is not added again."""
        if add_special_tokens is None:
            first = self.tokenizer.decode(self.prefix_token_id)
            add_special_tokens = not has_bos_prefix(string, first)
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write a conversation by the chat template; without its system message, if the template has none."""
        told: dict[str, Any] = {
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
            **self._template_args,
        }
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, **told))
        except TemplateError:
            rest = [message for message in chat_history if message["role"] != "system"]
            return str(self.tokenizer.apply_chat_template(rest, **told))

    @property
    def items(self) -> list[Item]:
        """The items of the last requests of each kind."""
        return [item for _, items in self._prepared.values() for _, item in items]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score the continuation of each context."""
        items = self._prepare("loglikelihood", requests, self._make_score_items)
        return self._score([item for _, item in items])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, in windows of the model's length.

        A request router sees only the prefix token, because the text itself is predicted.
        """
        items = self._prepare("rolling", requests, self._make_windows)
        sums = [0.0] * len(requests)
        for (owner, _), (value, _) in zip(items, self._score([item for _, item in items]), strict=True):
            sums[owner] += value
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate the answer to each context, up to the first stop string."""
        items = self._prepare("generate", requests, self._make_answer_items)
        return self._responder.answer(self.route, [item for _, item in items])

    def _prepare(
        self, kind: str, requests: Sequence[Instance], make: Callable[[Sequence[Instance]], list[Owned]]
    ) -> list[Owned]:
        """Tokenise requests; the same ones again, as under another route, are not tokenised again."""
        known, items = self._prepared.get(kind, ([], []))
        if len(known) != len(requests) or any(map(is_not, known, requests)):
            known, items = list(requests), make(requests)
            self._prepared[kind] = known, items
        return items

    def _make_score_items(self, requests: Sequence[Instance]) -> list[Owned]:
        pairs = [self._encode_request(*request.args) for request in requests]
        # A context that was empty is not part of a document's question.
        contexts = [pair[0] if request.args[0] else () for request, pair in zip(requests, pairs, strict=True)]
        questions = find_questions(requests, contexts, (self.prefix_token_id,), self.max_length)
        told = zip(pairs, questions, requests, strict=True)
        return [
            (index, self._make_item(pair, question, str(request.task_name)))
            for index, (pair, question, request) in enumerate(told)
        ]

    def _make_windows(self, requests: Sequence[Instance]) -> list[Owned]:
        found = []
        for index, request in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, target in map(make_disjoint_window, windows):
                pair = tuple(context), tuple(target)
                item = self._make_item(pair, (self.prefix_token_id,), str(request.task_name))
                found.append((index, item))
        return found

    def _make_answer_items(self, requests: Sequence[Instance]) -> list[Owned]:
        draws: Counter[tuple[Any, ...]] = Counter()
        items = []
        for index, request in enumerate(requests):
            key = (request.task_name, request.doc_id, request.args[0])
            items.append((index, self._make_answer_item(request, draws[key])))
            draws[key] += 1
        return items

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(tuple(context), tuple(target)) for _, context, target in requests]
        return self._score([self._make_item(pair, pair[0], "") for pair in pairs])

    def _encode_request(self, context: str, continuation: str) -> Pair:
        if context:
            found = self._encode_pair(context, continuation)
            return tuple(found[0]), tuple(found[1])
        target = self.tok_encode(continuation, add_special_tokens=False)
        if target[:1] == [self.prefix_token_id]:
            return tuple(target[:1]), tuple(target[1:])
        return (self.prefix_token_id,), tuple(target)

    def _score(self, items: Sequence[Item]) -> list[tuple[float, bool]]:
        return [(-found.loss, found.is_likeliest) for found in self._responder.score(self.route, items)]

    def _make_item(self, pair: Pair, question: Prompt, task: str) -> Item:
        context, target = pair
        if not target or len(target) > self.max_length:
            raise DataError(
                f"task {quote(task)}: an answer must have from 1 to {self.max_length} tokens, as many as the "
                f"model reads, found {len(target)}"
            )
        # The last token of a target is not an input of a model without an encoder.
        room = self.max_length if self.backend == "seq2seq" else self.max_length + 1 - len(target)
        return Item(task, self._cut(context, target, room, task), decided_by=question)

    def _make_answer_item(self, request: Instance, number: int) -> Item:
        context, given = request.args[:2]
        task = str(request.task_name)
        settings: dict[str, Any] = dict(normalize_gen_kwargs(given, self.max_gen_toks))
        unknown = sorted(settings.keys() - KNOWN_SETTINGS)
        if unknown:
            raise DataError(
                f"task {quote(task)}: settings of generation that lorary does not support: {quote(unknown)}"
            )
        most = min(settings["max_gen_toks"], self._max_new_tokens or settings["max_gen_toks"])
        room = self.max_length if self.backend == "seq2seq" else self.max_length - most
        if room < 1:
            raise DataError(
                f"task {quote(task)} generates up to {most:,} tokens, but the model reads "
                f"{self.max_length:,}: lower --lm_eval.max_new_tokens"
            )
        prompt = tuple(self.tok_encode(context)) or (self.prefix_token_id,)
        ending = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        stops = tuple(text for text in handle_stop_sequences(settings.get("until"), ending) if text)
        drawn = None
        if settings["do_sample"] and settings["temperature"]:
            drawn = Draw(number, float(settings["temperature"]), float(settings.get("top_p", 1.0)))
        cut = self._cut(prompt, (), room, task)
        return Item(task, cut, max_new_tokens=most, stops=stops, drawn=drawn, decided_by=cut.prompt_ids)

    def _cut(self, context: Prompt, target: Prompt, room: int, task: str) -> TokenizedExample:
        kept = context[-room:]
        self.num_cut[task] += len(kept) < len(context)
        return TokenizedExample(kept, target, len(context) - len(kept))
