"""Short chat templates in the manner of well-known models, and the finished conversations they write."""

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

CHATML = TURNS + OPEN

# An empty thought stands before the answer of the last turn, and in prompts only if thinking is off.
THINKING = (
    "{% for m in messages %}"
    "{% set text = m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content %}"
    "<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}"
    "<think>\n{{ (m.reasoning_content or '').strip('\n') }}\n</think>\n\n{% endif %}"
    "{{ text }}<|im_end|>\n{% endfor %}"
    + OPEN
    + "{% if add_generation_prompt and enable_thinking is defined "
    "and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)

# No system turns, other names of roles, and an end that is neither the tokenizer's nor marked special.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

# The prompt opens a thought that the finished conversation leaves out.
FORCED_THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)

# Two endings, and one of them only where the conversation is finished.
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)

# Always asks for another turn.
ALWAYS_ASKING = TURNS + "{{ '<|im_start|>assistant\n' }}"

# Ends nothing.
BARE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

NAMED = {
    "chatml": CHATML,
    "thinking": THINKING,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "llama": LLAMA,
    "forced thinking": FORCED_THINKING,
    "phi": PHI,
    "always asking": ALWAYS_ASKING,
    "bare": BARE,
}
