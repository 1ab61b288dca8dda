"""The tiny model in the format of llama.cpp.

    make_gguf.py MODEL FILE

It runs in the environment of transformers, with `gguf` beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

#: What takes part in the form of a conversation, and is never text; the other added tokens may be.
CONTROL = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
OUTSIDE = {"embed_tokens": "token_embd", "norm": "output_norm"}
INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{each}_proj": f"attn_{each}" for each in "qkv"},
    **{f"self_attn.{each}_norm": f"attn_{each}_norm" for each in "qk"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{each}_proj": f"ffn_{each}" for each in ("gate", "up", "down")},
}


def name_of(weight: str) -> str:
    """What llama.cpp calls a weight: `model.layers.0.mlp.up_proj.weight` is `blk.0.ffn_up.weight`."""
    stem = weight.removeprefix("model.").removesuffix(".weight")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.weight"
    _, layer, inside = stem.split(".", 2)
    return f"blk.{layer}.{INSIDE[inside]}.weight"


def add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_tokens(writer: gguf.GGUFWriter, folder: Path, tokens: Any) -> None:
    described = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    added = {each["content"]: each["id"] for each in described["added_tokens"]}
    ids = {**described["model"]["vocab"], **added}
    ordered = sorted(ids, key=ids.__getitem__)

    def type_of(token: str) -> gguf.TokenType:
        if token in CONTROL:
            return gguf.TokenType.CONTROL
        return gguf.TokenType.USER_DEFINED if token in added else gguf.TokenType.NORMAL

    merges = described["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(ordered)
    writer.add_token_types(list(map(type_of, ordered)))
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    writer.add_eos_token_id(tokens.eos_token_id)
    writer.add_pad_token_id(tokens.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokens.chat_template)


def main(folder: Path, file: Path) -> None:
    model = Qwen3ForCausalLM.from_pretrained(folder).float()
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_name("tiny")
    add_shape(writer, model.config)
    add_tokens(writer, folder, PreTrainedTokenizerFast.from_pretrained(folder))
    for weight, values in model.state_dict().items():
        if weight != "lm_head.weight":  # tied to the embedding
            writer.add_tensor(name_of(weight), values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
