"""Tiny mixtures of experts with stacked weights, and PEFT adapters for them, of today and of earlier days."""

import copy
import json
import warnings
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tests.architectures import tiny_config

RANK = 3


class Kind(NamedTuple):
    """A kind of adapter of a mixture."""

    model_type: str
    old: tuple[str, tuple[str, str, str]] | None = None
    """Of earlier versions: the module's path in a block, and the names of gate, up and down projection."""


KINDS = {
    "mixtral": Kind("mixtral"),
    "qwen3_moe": Kind("qwen3_moe"),
    "gpt_oss": Kind("gpt_oss"),  # its weights are transposed, and it has biases
    "nemotron_h": Kind("nemotron_h"),  # it has no gate
    "old mixtral": Kind("mixtral", ("block_sparse_moe", ("w1", "w3", "w2"))),
    "old qwen3_moe": Kind("qwen3_moe", ("mlp", ("gate_proj", "up_proj", "down_proj"))),
}


# Gates, by the end of the path of their weight.
GATES = {"mixtral": ["mlp.gate.weight"], "gpt_oss": ["router.weight"]}


def build_mixture(model_type):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForCausalLM.from_config(tiny_config(model_type)).eval().requires_grad_(False)


def write_adapter(base, kind, folder, seed=1):
    """Write a random adapter of attention and mixtures, as PEFT does or once did."""
    return _write_old(base, kind, folder, seed) if kind.old else _write_new(base, folder, seed)


def load_with_peft(base, folder):
    """Load an adapter on a copy of a model with PEFT."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import PeftModel

        return PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()


def _write_new(base, folder, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model

        names = {name.rpartition(".")[2] for name, _ in base.named_parameters() if ".experts." in name}
        first = "gate_up_proj" if "gate_up_proj" in names else "up_proj"
        gates = GATES.get(base.config.model_type, ())
        config = LoraConfig(
            r=RANK,
            lora_alpha=2 * RANK,
            target_modules=["q_proj"],
            target_parameters=[
                f"experts.{first}",
                "experts.down_proj",
                *gates,
            ],
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(copy.deepcopy(base), config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".lora_" in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(folder)
    return folder


def _write_old(base, kind, folder, seed):
    place, names = kind.old
    tensors = {}
    torch.manual_seed(seed)

    def add(path, width_in, width_out):
        tensors[f"base_model.model.{path}.lora_A.weight"] = torch.randn(RANK, width_in) * 0.2
        tensors[f"base_model.model.{path}.lora_B.weight"] = torch.randn(width_out, RANK) * 0.2

    for number, block in enumerate(base.model.layers):
        query = block.self_attn.q_proj
        add(f"model.layers.{number}.self_attn.q_proj", query.in_features, query.out_features)
        count, wide, narrow = block.mlp.experts.down_proj.shape
        add(f"model.layers.{number}.{place}.gate", wide, count)
        for index in range(count):
            for name in names:
                sizes = (narrow, wide) if name == names[2] else (wide, narrow)
                add(f"model.layers.{number}.{place}.experts.{index}.{name}", *sizes)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": ["q_proj", "gate", *names],
        "base_model_name_or_path": kind.model_type,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
