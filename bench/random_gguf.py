# Writes a GGUF file of a given shape with seeded random weights: for speed, where no trained model can be had.
#
#   python bench/random_gguf.py OUT.gguf [--layers 28] [--d-model 1536] [--heads 12] [--kv-heads 2] [--d-ff 8960] [--vocab 151936]
#
# The defaults are the shape of DeepSeek-R1-Distill-Qwen-1.5B (qwen2), every matrix Q4_K. Needs numpy. The vocabulary is
# made up: 256 bytes, then numbered words. Scales are small enough for activations to stay finite.
import argparse
import struct

import numpy as np

U32, F32, STRING, ARRAY = 4, 6, 8, 9
TYPE_F32, TYPE_Q4_K = 0, 12
ALIGNMENT = 32


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def byte_names():
    """The printable character that byte-level BPE uses for each byte (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, n_other = [], 0
    for byte in range(256):
        if byte in printable:
            names.append(chr(byte))
        else:
            names.append(chr(256 + n_other))
            n_other += 1
    return names


def metadata(args):
    tokens = byte_names() + ["wo"] + [f"word{i}" for i in range(args.vocab - 257)]
    u32 = lambda value: struct.pack("<II", U32, value)
    f32 = lambda value: struct.pack("<If", F32, value)
    text = lambda value: struct.pack("<I", STRING) + string(value)
    strings = lambda values: struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(string, values))
    numbers = lambda values: struct.pack("<IIQ", ARRAY, U32 + 1, len(values)) + struct.pack(f"<{len(values)}i", *values)
    return {
        "general.architecture": text("qwen2"), "general.name": text("random"), "general.alignment": u32(ALIGNMENT),
        "qwen2.block_count": u32(args.layers), "qwen2.context_length": u32(32768), "qwen2.embedding_length": u32(args.d_model),
        "qwen2.feed_forward_length": u32(args.d_ff), "qwen2.attention.head_count": u32(args.heads),
        "qwen2.attention.head_count_kv": u32(args.kv_heads), "qwen2.rope.freq_base": f32(10000.0),
        "qwen2.attention.layer_norm_rms_epsilon": f32(1e-6), "tokenizer.ggml.model": text("gpt2"), "tokenizer.ggml.pre": text("qwen2"),
        "tokenizer.ggml.tokens": strings(tokens), "tokenizer.ggml.token_type": numbers([1] * args.vocab),
        "tokenizer.ggml.merges": strings(["w o"]), "tokenizer.ggml.eos_token_id": u32(args.vocab - 1),
    }


def tensors(args):
    """(name, n_out, n_in); n_out 0: a vector."""
    d_kv = args.d_model // args.heads * args.kv_heads
    yield "token_embd.weight", args.vocab, args.d_model
    for layer in range(args.layers):
        for name, n_out, n_in in [
                ("attn_norm.weight", 0, args.d_model), ("attn_q.weight", args.d_model, args.d_model), ("attn_q.bias", 0, args.d_model),
                ("attn_k.weight", d_kv, args.d_model), ("attn_k.bias", 0, d_kv), ("attn_v.weight", d_kv, args.d_model),
                ("attn_v.bias", 0, d_kv), ("attn_output.weight", args.d_model, args.d_model), ("ffn_norm.weight", 0, args.d_model),
                ("ffn_gate.weight", args.d_ff, args.d_model), ("ffn_up.weight", args.d_ff, args.d_model),
                ("ffn_down.weight", args.d_model, args.d_ff)]:
            yield f"blk.{layer}.{name}", n_out, n_in
    yield "output_norm.weight", 0, args.d_model
    yield "output.weight", args.vocab, args.d_model


def content(random, name, n_out, n_in):
    if n_out == 0:
        return (np.ones(n_in) if "norm" in name else random.normal(0, 0.02, n_in)).astype("<f4").tobytes()
    n_blocks = n_out * n_in // 256
    blocks = random.integers(0, 256, (n_blocks, 144), dtype=np.uint8)
    # Weights of about 0.02: d times a 6-bit scale times a 4-bit code, less dmin times a 6-bit minimum.
    blocks[:, 0:2] = np.full(n_blocks, 4.4e-5, "<f2").view(np.uint8).reshape(-1, 2)
    blocks[:, 2:4] = np.full(n_blocks, 3.3e-4, "<f2").view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def main():
    parser = argparse.ArgumentParser(description="a GGUF file with random weights")
    parser.add_argument("out")
    for name, value in [("layers", 28), ("d-model", 1536), ("heads", 12), ("kv-heads", 2), ("d-ff", 8960), ("vocab", 151936)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    infos, offset = [], 0
    listed = list(tensors(args))
    for name, n_out, n_in in listed:
        dims = [n_in] if n_out == 0 else [n_in, n_out]
        kind, size = (TYPE_F32, n_in * 4) if n_out == 0 else (TYPE_Q4_K, n_out * n_in // 256 * 144)
        infos.append(string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    fields = metadata(args)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(fields))
    header += b"".join(string(key) + value for key, value in fields.items()) + b"".join(infos)
    random = np.random.default_rng(7)
    with open(args.out, "wb") as out:
        out.write(header + bytes(-len(header) % ALIGNMENT))
        for name, n_out, n_in in listed:
            data = content(random, name, n_out, n_in)
            out.write(data + bytes(-len(data) % ALIGNMENT))


if __name__ == "__main__":
    main()
