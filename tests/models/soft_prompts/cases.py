"""Soft prompts of PEFT's kinds, and logits."""

import copy
import warnings

import torch

IDS = torch.randint(3, 96, (4, 7), generator=torch.Generator().manual_seed(2))
KINDS = ("prompt", "p-tuning", "prefix", "projected prefix")


def configure(peft, kind):
    return {
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        "p-tuning": lambda: peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16
        ),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "projected prefix": lambda: peft.PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=2, prefix_projection=True, encoder_hidden_size=16
        ),
    }[kind]()


def train(peft, base, kind, folder):
    """Write a random soft prompt by PEFT, and return PEFT's model with it."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(base), configure(peft, kind)).eval()
        with torch.no_grad():
            for parameter in model.prompt_encoder.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        model.save_pretrained(folder)
    return model


def run(model, input_ids=IDS, **inputs):
    with torch.no_grad():
        return model(input_ids=input_ids, **{"use_cache": False, **inputs}).logits


def run_peft(model, input_ids=IDS):
    """PEFT's logits, without those of virtual tokens."""
    with torch.no_grad():
        return model(input_ids=input_ids).logits[:, -input_ids.shape[1] :]
