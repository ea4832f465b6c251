"""Mixtures of experts token by token, with dense weight changes."""

import math

import torch

from lorary.models import attach_experts, find_layers, layer_shape
from lorary.training.loop.batch_losses import BatchLosses
from lorary.training.objectives.moe import MoeExperts
from lorary.training.objectives.moe_start import start_at_random
from tests.training.moe.cases import TARGETS


def score_token(form, own, x):
    """Scores of all routed experts, and of groups, of one normalised input."""
    if form.kind == "product_keys":
        query, half = own["query"] @ x, form.query_size // 2
        rows = own["first"] @ query[:half]
        columns = own["second"] @ query[half:]
        return [rows[cell // form.num_columns] + columns[cell % form.num_columns] for cell in form.cells], (
            rows,
            columns,
        )
    return list(own["rows"] @ x), None if form.groups is None else own["groups"] @ x


def choose_by_hand(form, scores, extra):
    """Place and weight of each routed expert of one token, by sorting."""

    def best(many, k):
        return sorted(range(len(many)), key=lambda e: -float(many[e].detach()))[:k]

    def total(many):
        return sum(score.exp() for score in many)

    if form.groups is None:
        kept = best(scores, form.top_k)
        among = [scores[e] for e in kept] if form.weighting == "kept" else scores
        return {e: scores[e].exp() / total(among) for e in kept}
    found = {}
    groups = best(extra, form.top_groups)
    for g in groups:
        share = extra[g].exp() / total(
            [extra[h] for h in groups] if form.weighting == "kept" else list(extra)
        )
        members = [e for e, group in enumerate(form.groups) if group == g]
        kept = [members[i] for i in best([scores[e] for e in members], form.top_k)]
        among = kept if form.weighting == "kept" else members
        found |= {e: share * scores[e].exp() / total([scores[m] for m in among]) for e in kept}
    return found


class Book:
    """A dense mixture of experts: every token by itself, every chosen expert in full."""

    def __init__(self, base, experts, form, starts, config):
        self.base, self.experts, self.form, self.config = base, experts, form, config
        self.layers = find_layers(base.model, TARGETS)
        self.parameters = {path: own.clone().requires_grad_() for path, own in starts.items()}
        self.factors = {
            f"{name}.{path}.{letter}": getattr(expert.factors[path], letter).clone().requires_grad_()
            for name, expert in experts.items()
            for path in self.layers
            for letter in "ab"
        }

    def losses(self, batch, compute_loss):
        """The task loss of a batch, and its penalty."""
        self.log = {path: [] for path in self.layers}
        total = sum(self.run(example, compute_loss) * len(example.target_ids) for example in batch)
        loss = total / sum(len(example.target_ids) for example in batch)
        penalty = sum(self.penalise(self.log[path]) for path in self.layers) / len(self.layers)
        return loss, penalty

    def run(self, example, compute_loss):
        length = len(example) - 1
        hooks = [
            layer.register_forward_hook(
                lambda _, inputs, y, path=path: y + self.mix(path, inputs[0][0], length)[None]
            )
            for path, layer in self.layers.items()
        ]
        loss = compute_loss(self.base.model, [example])
        for hook in hooks:
            hook.remove()
        return loss

    def mix(self, path, x, length):
        form, width = self.form, x.shape[1]
        own, offset = {}, 0
        for name, shape in form.outline(width).items():
            own[name] = self.parameters[path][offset : offset + math.prod(shape)].view(shape)
            offset += math.prod(shape)
        out = []
        for place, token in enumerate(x):
            size = {"none": 1.0, "unit": token.norm(), "rms": token.norm() / width**0.5}[form.input_norm]
            scores, extra = score_token(form, own, token / size)
            chosen = choose_by_hand(form, scores, extra)
            if place < length:
                self.log[path].append((scores, extra, chosen))
            weights = {form.experts[e]: weight for e, weight in chosen.items()}
            for s, name in enumerate(form.shared):
                weights[name] = torch.sigmoid(own["shared"][s] @ token / size) if form.shared_gate else 1.0
            out.append(
                sum(
                    weight * (self.factors[f"{name}.{path}.b"] @ (self.factors[f"{name}.{path}.a"] @ token))
                    for name, weight in weights.items()
                )
            )
        return torch.stack(out)

    def penalise(self, log):
        form, config = self.form, self.config
        if form.kind == "product_keys":
            pick = (lambda e: form.cells[e] // form.num_columns, lambda e: form.cells[e] % form.num_columns)
            balance = 0
            for half in (0, 1):
                shares = sum(extra[half].softmax(0) for _, extra, _ in log) / len(log)
                counts = torch.zeros(len(shares))
                for _, _, chosen in log:
                    for e in chosen:
                        counts[pick[half](e)] += 1
                balance = balance + len(shares) * (counts / counts.sum() * shares).sum() / 2
            z = sum((extra[0].logsumexp(0) + extra[1].logsumexp(0)) ** 2 for _, extra, _ in log) / len(log)
        else:
            shares = torch.zeros(len(form.experts))
            counts = torch.zeros(len(form.experts))
            z = 0
            for scores, extra, chosen in log:
                scores = torch.stack(scores)
                if form.groups is None:
                    shares = shares + scores.softmax(0) / len(log)
                    z = z + scores.logsumexp(0) ** 2 / len(log)
                else:
                    inner = []
                    for g in range(form.num_groups):
                        members = torch.tensor([e for e, group in enumerate(form.groups) if group == g])
                        own = scores[members].softmax(0) * extra.softmax(0)[g] / len(log)
                        shares = shares.index_add(0, members, own)
                        inner.append(scores[members].logsumexp(0) ** 2)
                    z = z + (extra.logsumexp(0) ** 2 + sum(inner) / len(inner)) / len(log)
                for e in chosen:
                    counts[e] += 1
            balance = len(shares) * (counts / counts.sum() * shares).sum()
        return config.balance * balance + config.z_loss * z


def find_gradients(base, experts, examples, config, starts):
    """Loss and gradient of a first step with all examples: name of a parameter -> gradient."""
    stack = attach_experts(base.model, experts, torch.float32)
    objective = MoeExperts(stack, config.make_form(list(experts)), starts, config)
    objective.start("moe", 0, 3)
    losses = BatchLosses(objective, config.train.loop, 12).add_gradients({0: examples}, lambda: None)
    stack.detach()
    return losses[0], objective.rows.split_row(objective.rows.gradients[0].clone())


def make_starts(base, form, seed):
    widths = {path: layer_shape(layer)[0] for path, layer in find_layers(base.model, TARGETS).items()}
    return start_at_random(widths, form, seed)
