# Computes what a model would say without any quantised arithmetic, as a golden that engines are measured against.
#
#   python make_golden.py MODEL.gguf NAME        (needs: numpy gguf tokenizers)
#
# Weights are decoded to float32 and the forward pass runs in float32 with exact K/V, teacher-forced over text.zh.txt
# and text.en.txt: N_CHUNKS chunks of LEN_CHUNK tokens, each from position 0. Writes NAME.kl (the format is in
# docs/formats/kl-golden.md) and NAME.json (model, versions, reference perplexity). Architectures: llama, qwen2.
import hashlib
import json
import math
import os
import struct
import sys
import time

import gguf
import numpy as np
import tokenizers
from gguf.quants import dequantize
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
LEN_CHUNK = 512
CHUNKS_PER_TEXT = 2
TEXTS = ["text.zh.txt", "text.en.txt"]
TOP_N = 64
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")


class ModelFile:
    """Metadata and decoded float32 tensors of a GGUF file."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.string("general.architecture")
        self.tensors = {t.name: t for t in self.reader.tensors}

    def number(self, key, default=None):
        f = self.reader.fields.get(key)
        return default if f is None else f.parts[f.data[0]][0]

    def string(self, key):
        return self.strings(key)[0]

    def strings(self, key):
        f = self.reader.fields[key]
        return [bytes(f.parts[i]).decode("utf-8") for i in f.data]

    def matrix(self, name):
        t = self.tensors[name]
        shape = tuple(int(n) for n in reversed(t.shape))
        return dequantize(t.data, t.tensor_type).astype(np.float32, copy=False).reshape(shape)


def make_tokenizer(f):
    vocab = {t: i for i, t in enumerate(f.strings("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ")) for m in f.strings("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    pre = f.string("tokenizer.ggml.pre")
    if pre == "qwen2":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    elif pre == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    else:
        raise SystemExit(f"no pre-tokenizer for {pre!r} here; add one")
    return tokenizer


class Reference:
    """A dense llama or qwen2 model in float32, one sequence from position 0, exact attention."""

    def __init__(self, f):
        a = f.arch
        self.n_layers = int(f.number(f"{a}.block_count"))
        self.n_heads = int(f.number(f"{a}.attention.head_count"))
        self.n_kv_heads = int(f.number(f"{a}.attention.head_count_kv"))
        self.eps = float(f.number(f"{a}.attention.layer_norm_rms_epsilon"))
        self.rope_base = float(f.number(f"{a}.rope.freq_base", 10000.0))
        self.d_head = int(f.number(f"{a}.attention.key_length", int(f.number(f"{a}.embedding_length")) // self.n_heads))
        self.is_interleaved = a == "llama"  # llama rotates dimensions (2i, 2i+1), qwen2 (i, i + d_head/2)
        self.w = {name: f.matrix(name) for name in f.tensors}
        self.w.setdefault("output.weight", self.w["token_embd.weight"])

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        bias = self.w.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, x, name):
        scale = 1.0 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + self.eps)
        return (x * scale).astype(np.float32) * self.w[name + ".weight"]

    def rotate(self, x):
        n_tok, _, d = x.shape
        angles = np.arange(n_tok)[:, None] * self.rope_base ** (-np.arange(0, d, 2) / d)
        cos, sin = np.cos(angles)[:, None].astype(np.float32), np.sin(angles)[:, None].astype(np.float32)
        first, second = (np.s_[..., 0::2], np.s_[..., 1::2]) if self.is_interleaved else \
                        (np.s_[..., : d // 2], np.s_[..., d // 2:])
        out = np.empty_like(x)
        out[first] = x[first] * cos - x[second] * sin
        out[second] = x[first] * sin + x[second] * cos
        return out

    def attention(self, x, p):
        n_tok = len(x)
        q = self.rotate(self.linear(x, p + "attn_q").reshape(n_tok, self.n_heads, self.d_head))
        k = self.rotate(self.linear(x, p + "attn_k").reshape(n_tok, self.n_kv_heads, self.d_head))
        v = self.linear(x, p + "attn_v").reshape(n_tok, self.n_kv_heads, self.d_head)
        future = np.triu(np.full((n_tok, n_tok), -np.inf, np.float32), 1)
        out = np.empty_like(q)
        for h in range(self.n_heads):
            kv = h * self.n_kv_heads // self.n_heads
            s = q[:, h] @ k[:, kv].T / np.float32(math.sqrt(self.d_head)) + future
            s = np.exp(s - s.max(-1, keepdims=True))
            out[:, h] = (s / s.sum(-1, keepdims=True)) @ v[:, kv]
        return self.linear(out.reshape(n_tok, -1), p + "attn_output")

    def logits(self, tokens):
        """[n_tok, n_vocab] f32"""
        x = self.w["token_embd.weight"][tokens].copy()
        for layer in range(self.n_layers):
            p = f"blk.{layer}."
            x += self.attention(self.norm(x, p + "attn_norm"), p)
            h = self.norm(x, p + "ffn_norm")
            gate, up = self.linear(h, p + "ffn_gate"), self.linear(h, p + "ffn_up")
            x += self.linear(gate / (1 + np.exp(-gate)) * up, p + "ffn_down")
        return self.linear(self.norm(x, "output_norm"), "output")


def top_of(logits):
    """ids [n, TOP_N] best first (the lower id on a tie), their logprobs f32, logsumexp f32, all logprobs f64"""
    logits = logits.astype(np.float64)
    peak = logits.max(-1, keepdims=True)
    lse = peak + np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    logprobs = logits - lse
    ids = np.argsort(-logprobs, axis=-1, kind="stable")[:, :TOP_N]
    return ids.astype("<i4"), np.take_along_axis(logprobs, ids, -1).astype("<f4"), lse[:, 0].astype("<f4"), logprobs


def main():
    path, name = sys.argv[1:3]
    f = ModelFile(path)
    tokenizer, model = make_tokenizer(f), Reference(f)
    chunks = []
    for text in TEXTS:
        ids = tokenizer.encode(open(os.path.join(HERE, text), encoding="utf-8").read()).ids
        if len(ids) < CHUNKS_PER_TEXT * LEN_CHUNK:
            raise SystemExit(f"{text} has only {len(ids)} tokens")
        chunks += [ids[i * LEN_CHUNK:(i + 1) * LEN_CHUNK] for i in range(CHUNKS_PER_TEXT)]

    body, nll = [], []
    start = time.time()
    for number, tokens in enumerate(chunks):
        logits = model.logits(np.array(tokens))
        ids, top, lse, logprobs = top_of(logits)
        nll.append(-logprobs[np.arange(LEN_CHUNK - 1), tokens[1:]])
        body.append(np.array(tokens, "<i4").tobytes())
        for t in range(LEN_CHUNK):
            body += [ids[t].tobytes(), top[t].tobytes(), lse[t].tobytes()]
        print(f"chunk {number}: perplexity {math.exp(nll[-1].mean()):.4f}, {time.time() - start:.0f} s", flush=True)

    mean_nll = float(np.concatenate(nll).mean())
    n_vocab = logits.shape[1]
    header = b"DWKL" + struct.pack("<5Id", 1, len(chunks), LEN_CHUNK, TOP_N, n_vocab, mean_nll)
    with open(os.path.join(HERE, name + ".kl"), "wb") as out:
        out.write(header + b"".join(body))
    info = {
        "model_sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(), "model_name": f.string("general.name"),
        "texts": TEXTS, "n_chunks": len(chunks), "len_chunk": LEN_CHUNK, "top_n": TOP_N, "n_vocab": n_vocab,
        "perplexity": math.exp(mean_nll), "perplexity_by_chunk": [math.exp(n.mean()) for n in nll],
        "made_with": {"numpy": np.__version__, "tokenizers": tokenizers.__version__, "python": sys.version.split()[0]},
    }
    with open(os.path.join(HERE, name + ".json"), "w") as out:
        out.write(json.dumps(info, indent=1) + "\n")
    print(f"{name}: perplexity {math.exp(mean_nll):.4f} over {len(chunks)} x {LEN_CHUNK - 1} predictions")


if __name__ == "__main__":
    main()
