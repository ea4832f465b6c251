"""PEFT adapters of each kind on tiny models, with random weights."""

import copy
import warnings

import torch

LLAMA = {
    "dora",
    "added bias",
    "bias",
    "ia3",
    "sparse",
    "whole",
    "tokens",
    "embedding",
    "trainable tokens",
    "copies",
}
GPT2 = {"dora", "added bias", "bias", "ia3", "whole", "tokens", "embedding"}
LAYERS = {
    "llama": ["q_proj", "down_proj"],
    "gpt2": ["c_attn", "mlp.c_proj"],
    "qwen2": ["q_proj", "down_proj"],
}
WORDS = {"llama": "embed_tokens", "qwen2": "embed_tokens", "gpt2": "wte"}
NORMS = {"llama": "input_layernorm", "qwen2": "input_layernorm", "gpt2": "ln_1"}


def configure(peft, kind, family):
    """Make PEFT's configuration of an adapter of a kind."""
    layers, words = LAYERS[family], WORDS[family]
    fan = {"fan_in_fan_out": family == "gpt2"}

    def lora(**settings):
        return peft.LoraConfig(
            **{"r": 3, "lora_alpha": 5, "target_modules": layers, "task_type": "CAUSAL_LM", **fan, **settings}
        )

    return {
        "lora": lambda: lora(),
        "dora": lambda: lora(use_dora=True),
        "added bias": lambda: lora(lora_bias=True),
        "bias": lambda: lora(bias="all"),
        "ia3": lambda: peft.IA3Config(
            target_modules=layers, feedforward_modules=layers[1:], task_type="CAUSAL_LM", **fan
        ),
        "sparse": lambda: peft.ShiraConfig(r=2, target_modules=layers, task_type="CAUSAL_LM"),
        "whole": lambda: lora(modules_to_save=["lm_head", words, NORMS[family]]),
        "tokens": lambda: lora(trainable_token_indices={words: [4, 17, 33]}),
        "trainable tokens": lambda: peft.TrainableTokensConfig(
            target_modules=[words], token_indices=[4, 17, 33], task_type="CAUSAL_LM"
        ),
        "embedding": lambda: lora(target_modules=[*layers, words]),
        "copies": lambda: lora(target_modules=[*layers, "lm_head"]),
    }[kind]()


def wrap(peft, base, kind, family, seed=1):
    """Wrap a copy of a base model in a random PEFT adapter of a kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(base), configure(peft, kind, family)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or (kind == "copies" and name.endswith("lm_head.base_layer.weight")):
                parameter += torch.randn(parameter.shape, generator=generator) * 0.1 * (parameter.abs() + 0.5)
    return model


def save(model, folder):
    """Save an adapter by PEFT, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return folder
