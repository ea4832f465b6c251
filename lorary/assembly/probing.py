"""The inputs of request routers: runs of prompts without and with experts, and likelihoods of names.

P prompts, E experts, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.data.encoding import encode_answers, encode_prompt
from lorary.facts.reading import read_averages
from lorary.facts.requests import Requests, cut_passes, pad_prompts
from lorary.models import BaseModel, ExpertStack
from lorary.models.plan import Nobody
from lorary.models.positions import check_length, count_needed
from lorary.passes import find_layout, score_pass, split_passes
from lorary.routing.request import (
    NAMES,
    AskingRouter,
    ProbingRouter,
    Question,
    RequestRouter,
    Runs,
)

TOKENS_PER_PASS = 4096
"""Maximum number of tokens of a pass, padding included, if prompts run once with each expert."""
ROW_LENGTH = 2048


class Prober:
    """Runs prompts as a request router needs them.

    Args:
        stack: the experts on the model.
        base: the base model, whose tokenizer writes and reads the texts of an ``AskingRouter``.
        router: says which runs it needs.
        num_experts: E, the number of experts that it chooses from; they come first in the stack.
    """

    def __init__(self, stack: ExpertStack, base: BaseModel, router: RequestRouter, num_experts: int):
        self._stack = stack
        self._base = base
        self._router = router
        self._num_experts = num_experts

    def read(self, requests: Requests) -> dict[str, Tensor]:
        """Run prompts and return the input of the router's ``choose``.

        Args:
            requests: P prompts, on the model's device.

        Returns:
            Place -> average features ``[P, F]``, or ``[P, 1 + E, F]`` if each expert has a run; or the
            log-likelihoods of names, ``[P, E]``.

        Raises:
            BaseModelError: if the base model has too few positions for the texts of an ``AskingRouter``.
        """
        if isinstance(self._router, AskingRouter):
            return {NAMES: self._score_names(self._router, requests)}
        runs = self._router.runs if isinstance(self._router, ProbingRouter) else Runs.ALONE
        if runs is Runs.EACH:
            return self._read_each(requests.token_ids())
        together = torch.arange(self._num_experts)[None]
        plan = (together, torch.ones(together.shape)) if runs is Runs.TOGETHER else None
        return read_averages(self._stack, self._router, requests, plan)

    def _read_each(self, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Run each prompt without experts and with each expert alone, as rows of shared batches."""
        num_runs = 1 + self._num_experts
        lengths = [len(ids) for ids in prompts for _ in range(num_runs)]
        found: dict[str, list[Tensor]] = {place: [] for place in self._router.places}
        order: list[int] = []
        for members in cut_passes(lengths, TOKENS_PER_PASS):
            padded = pad_prompts([prompts[run // num_runs] for run in members], self._stack.model.device)
            own = torch.tensor([[run % num_runs - 1] for run in members])
            plan = own.clamp_min(0), (own >= 0).float()
            for place, rows in read_averages(self._stack, self._router, padded, plan).items():
                found[place].append(rows)
            order += members
        places = torch.tensor(order).argsort()
        return {
            place: torch.cat(parts)[places.to(parts[0].device)].unflatten(0, (len(prompts), num_runs))
            for place, parts in found.items()
            if parts
        }

    def _score_names(self, router: AskingRouter, requests: Requests) -> Tensor:
        """Return the log-likelihood of each expert's name after the router's texts, ``[P, E]``."""
        tokenizer = self._base.tokenizer
        kept = [ids[-router.max_tokens :] for ids in requests.token_ids()]
        questions = router.ask([tokenizer.decode(ids, skip_special_tokens=True) for ids in kept])
        sequences = [sequence for question in questions for sequence in self._encode(question)]
        losses = self._measure_losses(sequences)
        found = torch.zeros(len(kept), self._num_experts)
        for question in questions:
            own, losses = losses[: len(question.experts)], losses[len(question.experts) :]
            found[question.request, list(question.experts)] = -own
        return found

    def _encode(self, question: Question) -> list[TokenizedExample]:
        is_pair = self._base.is_encoder_decoder
        prompt = encode_prompt(self._base.tokenizer, question.prompt, is_encoder_decoder=is_pair)
        answers = encode_answers(self._base.tokenizer, question.answers)
        longest = max(len(ids) for ids in answers)
        needed = count_needed(self._base.model, len(prompt), longest)
        check_length(self._base.model, needed, "the text with the experts' cards and the request")
        return [TokenizedExample(tuple(prompt), tuple(ids)) for ids in answers]

    def _measure_losses(self, sequences: Sequence[TokenizedExample]) -> Tensor:
        """Return the negative log-likelihood of each sequence's target. Shared prefixes are read once."""
        layout = find_layout(self._stack, max(map(len, sequences)), ROW_LENGTH)
        chooser = None if self._stack.general is None else Nobody()
        found = torch.zeros(len(sequences))
        for part in split_passes(
            sequences,
            [0] * len(sequences),
            layout,
            tokens_per_pass=TOKENS_PER_PASS,
            row_length=ROW_LENGTH,
            device=self._stack.model.device,
        ):
            losses = score_pass(self._stack, part, chooser)
            found.index_add_(0, part.sequence.cpu(), losses.float().cpu())
        return found
