"""A tiny model that knows a few answers by heart: enough for a real server to send real text and real tool calls.

    make_model.py FOLDER

It runs in the environment of transformers. A Qwen3 of 130,000 parameters is trained on the spot on the answers in
`questions.py`, and on nothing else, until it gives each back word for word; a minute or two on one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from questions import ANSWERS, TOOL, ask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]
#: In the form of Qwen's own, which servers know how to read tool calls of; its second sentence they look for.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
You are provided with function signatures within <tools></tools> XML tags:
<tools>{% for tool in tools %}
{{ tool.function.name if tool.function else tool.name }}{% endfor %}
</tools>
For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags.\
<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role == 'assistant' and message.tool_calls %}<|im_start|>assistant
{% if message.content %}{{ message.content }}
{% endif %}
{%- for call in message.tool_calls %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% if not loop.last %}
{% endif %}{% endfor %}<|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
#: Steps after which an answer that is still not known will not be: 250 are usual.
MOST_STEPS = 1500
#: The loss at which greedy decoding makes no mistake.
LEARNED = 0.003


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte pairs of the answers themselves."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet)
    bare.train_from_iterator([*ANSWERS.values(), TEMPLATE] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def rows(tokens: PreTrainedTokenizerFast) -> list[tuple[list[int], int]]:
    """The tokens of each question with its answer, and how many of them are the question's."""
    found = []
    for name, answer in ANSWERS.items():
        tools = [TOOL] if "<tool_call>" in answer else None
        prompt = tokens.apply_chat_template(ask(name), tools=tools, add_generation_prompt=True, tokenize=False)
        asked = tokens(prompt, add_special_tokens=False).input_ids
        found.append((tokens(prompt + answer + "<|im_end|>", add_special_tokens=False).input_ids, len(asked)))
    return found


def batch(tokens: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """All answers side by side; the loss is taken of the answers alone."""
    every = rows(tokens)
    longest = max(len(ids) for ids, _ in every)
    ids = torch.tensor([each + [tokens.pad_token_id] * (longest - len(each)) for each, _ in every])
    labels = torch.full_like(ids, -100)
    for row, (each, asked) in enumerate(every):
        labels[row, asked : len(each)] = ids[row, asked : len(each)]
    lengths = torch.tensor([len(each) for each, _ in every])
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train(tokens: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """The model that knows the answers."""
    torch.manual_seed(0)
    # A head of 32: vLLM's attention on a CPU takes no smaller one.
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 32}
    ends = {"eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id, "bos_token_id": None}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokens), tie_word_embeddings=True, **shape, **heads, **ends))
    examples, optimizer = batch(tokens), torch.optim.AdamW(model.parameters(), 3e-3)
    began = time.monotonic()
    for step in range(1, MOST_STEPS + 1):  # noqa: B007 -- told afterwards
        loss = model(**examples).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < LEARNED:
            break
    print(f"{step} steps, loss {loss.item():.4f}, {time.monotonic() - began:.0f} s")
    if loss.item() >= LEARNED:
        raise SystemExit("The model did not learn its answers.")
    return model


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    tokens = tokenizer()
    model = train(tokens)
    model.generation_config.do_sample = False
    model.generation_config.eos_token_id = tokens.eos_token_id
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
