# Makes tiny seeded random models as GGUF files, with the logits that `transformers` computes from the same weights.
#
#   python make_tiny.py [--only NAME] [--out DIR]        (needs: torch transformers gguf numpy)
#
# For each variant NAME it writes
#   NAME.gguf         the model, in llama.cpp's conventions (names, metadata keys, q/k row order of `llama`)
#   NAME.json         tokens, the positions whose logits are kept, dimensions, versions
#   NAME.logits.f32   raw little-endian float32 [n_positions, n_vocab]
# The reference runs in float64 on the very weights that the file holds: float16 files hold values that float16
# represents exactly, quantised files are decoded by the `gguf` package before the reference sees them.
# (Inside, transformers computes RMS norms, softmax and RoPE tables in float32.)
import argparse
import json
import math
import os
import sys
import zlib
from dataclasses import dataclass, field

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

N_CTX = 512  # = 4 x the original length of YARN, as its factor says
BYTE_TOKENS = 256
MERGES = ["t h", "i n", "e r", "a n", "th e", "o n", "Ġ t", "Ġ a", "Ġ the", "in g", "an d", "Ġ and",
          "e n", "o r", "r e", "Ġ w", "s t", "e s", "Ġ o", "Ġ s", "e d", "Ġ b", "l l", "Ġ 1"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|pad|>", "<|unused0|>", "<|unused1|>"]
N_VOCAB = BYTE_TOKENS + len(MERGES) + len(SPECIALS)  # 288
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}")


@dataclass
class Variant:
    name: str
    arch: str                       # "llama" or "qwen2"
    n_heads: int
    n_kv_heads: int
    d_head: int
    is_tied: bool = False
    d_model: int = 64
    d_ff: int = 64
    n_layers: int = 2
    rope_base: float = 10000.0
    rope: dict = field(default_factory=dict)   # the extra rope parameters of transformers
    types: dict = field(default_factory=dict)  # part of a tensor name -> type; "" is the rest
    len_tok: int = 44
    first_kept: int = 20            # logits of positions from here on are kept


F16, F32 = {"": Q.F16}, {"": Q.F32}
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
VARIANTS = [
    Variant("llama-tied-gqa2-d16-f16", "llama", 4, 2, 16, is_tied=True, types=F16),
    Variant("llama-tied-gqa4-d16-long-f16", "llama", 4, 1, 16, is_tied=True, types=F16, len_tok=300, first_kept=276),
    Variant("llama-untied-gqa1-d16-f32", "llama", 2, 2, 16, types=F32, d_model=32),
    Variant("llama-linear-gqa4-d16-f16", "llama", 4, 1, 16, is_tied=True, types=F16, n_layers=1, rope=LINEAR),
    Variant("llama-llama3-gqa2-d32-f16", "llama", 4, 2, 32, is_tied=True, types=F16, n_layers=1,
            rope_base=500000.0, rope=LLAMA3),
    Variant("llama-yarn-gqa2-d32-f16", "llama", 2, 1, 32, is_tied=True, types=F16, n_layers=1, rope=YARN),
    Variant("qwen2-tied-gqa7-d16-f16", "qwen2", 7, 1, 16, is_tied=True, d_model=112, types=F16, rope_base=1000000.0),
    Variant("qwen2-untied-gqa2-d32-f16", "qwen2", 2, 1, 32, types=F16, n_layers=1),
    Variant("qwen2-yarn-gqa2-d32-f16", "qwen2", 2, 1, 32, is_tied=True, types=F16, n_layers=1, rope=YARN),
    Variant("llama-tied-gqa4-d16-q4_1", "llama", 4, 1, 16, is_tied=True, types={"": Q.Q4_1, "token_embd": Q.Q8_0}),
    Variant("llama-untied-gqa2-d32-q8_0", "llama", 2, 1, 32, types={"": Q.Q8_0}),
    Variant("qwen2-untied-gqa2-d16-q5_0", "qwen2", 4, 2, 16, types={"": Q.Q5_0, "output": Q.Q8_0, "attn_v": Q.Q8_0}),
    Variant("qwen2-tied-gqa4-d64-k-mix", "qwen2", 4, 1, 64, is_tied=True, d_model=256, d_ff=256, n_layers=1,
            types={"": Q.Q4_K, "ffn_down": Q.Q6_K, "attn_v": Q.Q6_K}),
    # The other types, mixed as the files of that name are.
    Variant("llama-untied-gqa2-d32-bf16", "llama", 2, 1, 32, types={"": Q.BF16}),
    Variant("llama-untied-gqa2-d32-q4_0", "llama", 2, 1, 32, types={"": Q.Q4_0}),
    Variant("qwen2-tied-gqa4-d16-q5_1", "qwen2", 4, 1, 16, is_tied=True, types={"": Q.Q5_1}),
    Variant("llama-tied-gqa4-d16-iq4_nl", "llama", 4, 1, 16, is_tied=True, types={"": Q.IQ4_NL, "ffn_down": Q.Q5_1}),
    Variant("llama-untied-gqa4-d64-q2_k-mix", "llama", 4, 1, 64, d_model=256, d_ff=256, n_layers=1,
            types={"": Q.Q2_K, "ffn_down": Q.Q3_K, "attn_v": Q.Q3_K, "output": Q.Q6_K}),
    Variant("qwen2-tied-gqa4-d64-q3_k-mix", "qwen2", 4, 1, 64, is_tied=True, d_model=256, d_ff=256, n_layers=1,
            types={"": Q.Q3_K, "ffn_down": Q.Q5_K, "attn_v": Q.Q5_K, "attn_output": Q.Q4_K}),
    Variant("llama-tied-gqa4-d64-q5_k-mix", "llama", 4, 1, 64, is_tied=True, d_model=256, d_ff=256, n_layers=1,
            types={"": Q.Q5_K, "ffn_down": Q.Q6_K, "attn_v": Q.Q6_K}),
    Variant("qwen2-untied-gqa4-d64-iq4_xs-mix", "qwen2", 4, 1, 64, d_model=256, d_ff=256, n_layers=1,
            types={"": Q.IQ4_XS, "ffn_down": Q.Q5_K, "output": Q.Q6_K}),
]


def seed_of(name):
    return zlib.crc32(name.encode())


# ---- weights: made as GGUF holds them, then decoded for the reference

@dataclass
class RandomBlock:
    """A block type that the gguf package decodes but does not encode: any bytes are codes and scales, but for f16s."""
    n_values: int
    n_bytes: int
    d_at: int                # where the f16 d is
    spread: float            # of a value in units of d, over random codes and scales
    dmin_at: int | None = None
    dmin: float = 0.0        # in units of d, so that both terms of d*sc*q - dmin*m have the same mean


RANDOM_BLOCKS = {
    Q.Q2_K: RandomBlock(256, 84, d_at=80, spread=13.9, dmin_at=82, dmin=1.5),         # sc, m in 0..15, q in 0..3
    Q.Q3_K: RandomBlock(256, 110, d_at=108, spread=43.0),                             # sc in -32..31, q in -4..3
    Q.Q4_K: RandomBlock(256, 144, d_at=0, spread=31.5 * 6.0, dmin_at=2, dmin=7.5),    # sc, m in 0..63, q in 0..15
    Q.Q5_K: RandomBlock(256, 176, d_at=0, spread=31.5 * 12.0, dmin_at=2, dmin=15.5),  # the same, q in 0..31
    Q.Q6_K: RandomBlock(256, 210, d_at=208, spread=60.0 * 18.0),                      # sc in -128..127, q in -32..31
    Q.IQ4_NL: RandomBlock(32, 18, d_at=0, spread=70.0),                               # sixteen values to +-127
    Q.IQ4_XS: RandomBlock(256, 136, d_at=0, spread=70.0 * 18.5),                      # the same, sc in -32..31
}


def random_blocks(rng, kind, shape, sigma):
    """Random valid blocks, about N(0, sigma) wide."""
    n_rows, n_cols = shape
    n_blocks = n_rows * n_cols // kind.n_values
    blocks = rng.integers(0, 256, (n_blocks, kind.n_bytes), dtype=np.uint8)
    d = (sigma / kind.spread * rng.uniform(0.7, 1.3, n_blocks)).astype(np.float16)
    blocks[:, kind.d_at:kind.d_at + 2] = d.view(np.uint8).reshape(-1, 2)
    if kind.dmin_at is not None:
        dmin = (d.astype(np.float32) * kind.dmin).astype(np.float16)
        blocks[:, kind.dmin_at:kind.dmin_at + 2] = dmin.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(n_rows, -1)


def make_tensor(rng, qtype, shape, sigma):
    """(bytes or array as the file holds it, decoded float64 array)"""
    if qtype in RANDOM_BLOCKS:
        data = random_blocks(rng, RANDOM_BLOCKS[qtype], shape, sigma)
    else:
        data = gguf.quants.quantize((rng.standard_normal(shape) * sigma).astype(np.float32), qtype)
    return data, gguf.quants.dequantize(data, qtype).astype(np.float64).reshape(shape)


def type_of(v, name):
    for part, qtype in v.types.items():
        if part and part in name:
            return qtype
    return v.types[""]


def make_weights(v):
    """name in GGUF -> (data, type, decoded float64). Vectors are float32."""
    rng = np.random.default_rng(seed_of(v.name))
    out = {}

    def matrix(name, n_out, n_in, gain=1.0):
        qtype = type_of(v, name)
        data, values = make_tensor(rng, qtype, (n_out, n_in), gain / math.sqrt(n_in))
        out[name] = (data, qtype, values)

    def vector(name, n, mean, sigma):
        data = (mean + sigma * rng.standard_normal(n)).astype(np.float32)
        out[name] = (data, Q.F32, data.astype(np.float64))

    d_q, d_kv = v.n_heads * v.d_head, v.n_kv_heads * v.d_head
    matrix("token_embd.weight", N_VOCAB, v.d_model, gain=2.0)
    vector("output_norm.weight", v.d_model, 1.0, 0.2)
    if not v.is_tied:
        matrix("output.weight", N_VOCAB, v.d_model, gain=2.0)
    for layer in range(v.n_layers):
        p = f"blk.{layer}."
        vector(p + "attn_norm.weight", v.d_model, 1.0, 0.2)
        vector(p + "ffn_norm.weight", v.d_model, 1.0, 0.2)
        matrix(p + "attn_q.weight", d_q, v.d_model, gain=1.5)
        matrix(p + "attn_k.weight", d_kv, v.d_model, gain=1.5)
        matrix(p + "attn_v.weight", d_kv, v.d_model)
        if v.arch == "qwen2":
            vector(p + "attn_q.bias", d_q, 0.0, 0.5)
            vector(p + "attn_k.bias", d_kv, 0.0, 0.5)
            vector(p + "attn_v.bias", d_kv, 0.0, 0.2)
        matrix(p + "attn_output.weight", v.d_model, d_q)
        matrix(p + "ffn_gate.weight", v.d_ff, v.d_model, gain=1.5)
        matrix(p + "ffn_up.weight", v.d_ff, v.d_model, gain=1.5)
        matrix(p + "ffn_down.weight", v.d_model, v.d_ff)
    return out


# ---- the reference

HF_NAMES = {
    "attn_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight", "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.weight": "self_attn.k_proj.weight", "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.weight": "self_attn.v_proj.weight", "attn_v.bias": "self_attn.v_proj.bias",
    "attn_output.weight": "self_attn.o_proj.weight", "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight", "ffn_down.weight": "mlp.down_proj.weight",
}


def hf_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    if name == "output.weight":
        return "lm_head.weight"
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{HF_NAMES[rest]}"


def unpermute(values, n_heads):
    """Rows of a head in GGUF's `llama` order (pairs 2i, 2i+1 rotate) to transformers' (pairs i, i + d_head/2)."""
    n_out = values.shape[0]
    return values.reshape(n_heads, n_out // n_heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)


def reference_logits(v, weights, tokens):
    rope = {"rope_theta": v.rope_base, **(v.rope or {"rope_type": "default"})}
    common = dict(vocab_size=N_VOCAB, hidden_size=v.d_model, intermediate_size=v.d_ff, num_hidden_layers=v.n_layers,
                  num_attention_heads=v.n_heads, num_key_value_heads=v.n_kv_heads, head_dim=v.d_head,
                  max_position_embeddings=N_CTX, rms_norm_eps=1e-5, tie_word_embeddings=v.is_tied,
                  rope_parameters=rope, attn_implementation="eager")
    config_class, model_class = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[v.arch]
    model = model_class(config_class(**common)).double().eval()
    state = {}
    for name, (_, _, values) in weights.items():
        if v.arch == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            values = unpermute(values, v.n_heads if "attn_q" in name else v.n_kv_heads)
        state[hf_name(name)] = torch.from_numpy(np.ascontiguousarray(values))
    if v.is_tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    assert logits.dtype == torch.float64
    return logits.numpy()


# ---- the file

def byte_alphabet():
    """GPT-2's printable spelling of the 256 bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling, n_extra = {}, 0
    for b in range(256):
        if b in keep:
            spelling[b] = chr(b)
        else:
            spelling[b] = chr(256 + n_extra)
            n_extra += 1
    return [spelling[b] for b in range(256)]


def llama3_rope_factors(v):
    """Divisors of the frequencies as llama.cpp's converter stores them: rope_freqs.weight [d_head / 2] f32."""
    r = v.rope
    n_train = r["original_max_position_embeddings"]
    factors = []
    for i in range(0, v.d_head, 2):
        len_wave = 2 * math.pi * v.rope_base ** (i / v.d_head)
        if len_wave < n_train / r["high_freq_factor"]:
            factors.append(1.0)
        elif len_wave > n_train / r["low_freq_factor"]:
            factors.append(r["factor"])
        else:
            smooth = (n_train / len_wave - r["low_freq_factor"]) / (r["high_freq_factor"] - r["low_freq_factor"])
            factors.append(1.0 / ((1.0 - smooth) / r["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write_gguf(v, weights, path):
    w = gguf.GGUFWriter(path, v.arch)
    w.add_name(v.name)
    w.add_block_count(v.n_layers)
    w.add_context_length(N_CTX)
    w.add_embedding_length(v.d_model)
    w.add_feed_forward_length(v.d_ff)
    w.add_head_count(v.n_heads)
    w.add_head_count_kv(v.n_kv_heads)
    if v.n_heads * v.d_head != v.d_model:
        w.add_key_length(v.d_head)
        w.add_value_length(v.d_head)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(v.rope_base)
    if v.arch == "llama":
        w.add_rope_dimension_count(v.d_head)
        w.add_vocab_size(N_VOCAB)
    kind = v.rope.get("rope_type")
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(v.rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(v.rope["factor"])
        w.add_rope_scaling_orig_ctx_len(v.rope["original_max_position_embeddings"])
    elif kind == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_rope_factors(v))

    n_text = BYTE_TOKENS + len(MERGES)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2" if v.arch == "qwen2" else "smollm")
    w.add_token_list(byte_alphabet() + [m.replace(" ", "") for m in MERGES] + SPECIALS)
    w.add_token_types([1] * n_text + [3] * len(SPECIALS))
    w.add_token_merges(MERGES)
    w.add_bos_token_id(n_text + SPECIALS.index("<|endoftext|>"))
    w.add_eos_token_id(n_text + SPECIALS.index("<|im_end|>"))
    w.add_pad_token_id(n_text + SPECIALS.index("<|pad|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)

    for name, (data, qtype, _) in weights.items():
        w.add_tensor(name, data, raw_dtype=qtype if qtype not in (Q.F32, Q.F16) else None)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(v, out_dir):
    weights = make_weights(v)
    tokens = [int(t) for t in np.random.default_rng(seed_of(v.name) + 1).integers(0, N_VOCAB, v.len_tok)]
    logits = reference_logits(v, weights, tokens)[v.first_kept:]
    base = os.path.join(out_dir, v.name)
    write_gguf(v, weights, base + ".gguf")
    logits.astype("<f4").tofile(base + ".logits.f32")
    info = {
        "name": v.name, "architecture": v.arch, "n_vocab": N_VOCAB, "n_layers": v.n_layers, "d_model": v.d_model,
        "d_ff": v.d_ff, "n_heads": v.n_heads, "n_kv_heads": v.n_kv_heads, "d_head": v.d_head, "is_tied": v.is_tied,
        "rope": v.rope or {"rope_type": "default"}, "rope_base": v.rope_base,
        "types": sorted({q.name for _, q, _ in weights.values()}),
        "tokens": tokens, "first_position": v.first_kept, "n_positions": len(logits),
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
                      "numpy": np.__version__, "python": sys.version.split()[0]},
    }
    with open(base + ".json", "w") as f:
        f.write("{\n" + ",\n".join(f' {json.dumps(k)}: {json.dumps(x)}' for k, x in info.items()) + "\n}\n")
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    print(f"{v.name}: {os.path.getsize(base + '.gguf')} bytes, logits {logits.shape}, "
          f"rms {np.sqrt((logits ** 2).mean()):.3f}, mean top probability {probs.max(-1).mean():.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="make this variant alone")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    args = parser.parse_args()
    for v in VARIANTS:
        if args.only in (None, v.name):
            make(v, args.out)


if __name__ == "__main__":
    main()
