# Measures llama.cpp on a KL golden, with the very figures that `deepwell perplexity --kl` prints.
#
#   python bench/accuracy_peer.py MODEL.gguf GOLDEN.kl [--threads N] [--kv f16|f32] [--no-repack] [--json]
#
# Needs numpy and llama-cpp-python. The golden's format and the figures: docs/formats/kl-golden.md.
import argparse
import ctypes
import json
import math
import struct

import numpy as np

KL_FLOOR = 1e-12


def read_golden(path):
    data = open(path, "rb").read()
    if data[:4] != b"DWKL":
        raise SystemExit(f"{path} is not a KL golden")
    version, n_chunks, len_chunk, top_n, n_vocab, mean_nll = struct.unpack_from("<5Id", data, 4)
    if version != 1:
        raise SystemExit(f"{path} has version {version}; this script reads version 1")
    record = np.dtype([("ids", "<i4", top_n), ("logprobs", "<f4", top_n), ("logsumexp", "<f4")])
    chunk = np.dtype([("tokens", "<i4", len_chunk), ("positions", record, len_chunk)])
    if len(data) != 32 + n_chunks * chunk.itemsize:
        raise SystemExit(f"{path} has {len(data)} bytes where its header promises {32 + n_chunks * chunk.itemsize}")
    return np.frombuffer(data, chunk, offset=32), n_vocab, mean_nll


def measure(chunks, mean_nll, logits_of):
    """logits_of(tokens) -> [len_chunk, n_vocab]; returns the figures of docs/formats/kl-golden.md."""
    kl, is_same, margin, nll = [], [], [], []
    for chunk in chunks:
        tokens, positions = chunk["tokens"], chunk["positions"]
        logits = logits_of(tokens).astype(np.float64)
        best = logits.argmax(-1)
        logits -= logits.max(-1, keepdims=True)
        log_q_all = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        log_p = positions["logprobs"].astype(np.float64)
        log_q = np.take_along_axis(log_q_all, positions["ids"].astype(np.int64), -1)
        p_rest = np.maximum(0.0, 1.0 - np.exp(log_p).sum(-1))
        q_rest = np.maximum(KL_FLOOR, 1.0 - np.exp(log_q).sum(-1))
        rest = np.where(p_rest < 1e-9, 0.0, p_rest * (np.log(np.maximum(p_rest, 1e-300)) - np.log(q_rest)))
        kl.append((np.exp(log_p) * (log_p - log_q)).sum(-1) + rest)
        is_same.append(best == positions["ids"][:, 0])
        margin.append(np.exp(log_p[:, 0]) - np.exp(log_p[:, 1]))
        nll.append(-log_q_all[np.arange(len(tokens) - 1), tokens[1:]])
    kl, is_same, margin, nll = map(np.concatenate, (kl, is_same, margin, nll))
    is_clear = margin >= 0.05
    return {
        "kl": float(kl.mean()), "kl_p99": float(np.quantile(kl, 0.99)), "kl_max": float(kl.max()),
        "top1": float(is_same.mean()), "top1_at_margin": float(is_same[is_clear].mean()),
        "n_positions": len(kl), "n_at_margin": int(is_clear.sum()),
        "perplexity": math.exp(nll.mean()), "perplexity_reference": math.exp(mean_nll),
        "perplexity_ratio": math.exp(nll.mean() - mean_nll),
    }


class LlamaCpp:
    """llama.cpp through its C interface: the high-level class keeps float32 logits only when asked, and slowly."""

    def __init__(self, path, n_ctx, n_threads, kv, use_repack):
        import llama_cpp as c
        self.c = c
        self.quiet = c.llama_log_callback(lambda *_: None)
        c.llama_log_set(self.quiet, ctypes.c_void_p(0))
        c.llama_backend_init()
        params = c.llama_model_default_params()
        params.use_extra_bufts = use_repack
        self.model = c.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.n_vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        p = c.llama_context_default_params()
        p.n_ctx = p.n_batch = p.n_ubatch = n_ctx
        p.n_threads = p.n_threads_batch = n_threads
        if hasattr(p, "n_outputs_max_per_seq"):  # newer versions expect one row of logits a sequence unless told
            p.n_outputs_max = p.n_outputs_max_per_seq = n_ctx
        p.type_k = p.type_v = {"f16": 1, "f32": 0}[kv]
        self.ctx = c.llama_init_from_model(self.model, p)

    def logits(self, tokens):
        c, n = self.c, len(tokens)
        c.llama_memory_clear(c.llama_get_memory(self.ctx), True)
        batch = c.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = int(token), i, 1, 0, 1
        if c.llama_decode(self.ctx, batch) != 0:
            raise SystemExit("llama_decode failed")
        out = np.ctypeslib.as_array(c.llama_get_logits(self.ctx), (n, self.n_vocab)).copy()
        c.llama_batch_free(batch)
        return out


def main():
    parser = argparse.ArgumentParser(description="llama.cpp against a KL golden")
    parser.add_argument("model")
    parser.add_argument("golden")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kv", choices=["f16", "f32"], default="f16")
    parser.add_argument("--no-repack", action="store_true", help="keep llama.cpp to its plain weight layouts")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chunks, n_vocab, mean_nll = read_golden(args.golden)
    peer = LlamaCpp(args.model, len(chunks["tokens"][0]), args.threads, args.kv, not args.no_repack)
    if peer.n_vocab != n_vocab:
        raise SystemExit(f"the golden was made for {n_vocab} logits, the model has {peer.n_vocab}")
    figures = measure(chunks, mean_nll, peer.logits)
    if args.json:
        print(json.dumps(figures))
        return
    print(f"KL mean {figures['kl']:.6f}  p99 {figures['kl_p99']:.4f}  max {figures['kl_max']:.3f}")
    print(f"top-1 {100 * figures['top1']:.2f} %; at margin >= 0.05: {100 * figures['top1_at_margin']:.2f} % "
          f"of {figures['n_at_margin']} positions")
    print(f"perplexity {figures['perplexity']:.4f}, reference {figures['perplexity_reference']:.4f}, "
          f"ratio {figures['perplexity_ratio']:.5f}")


if __name__ == "__main__":
    main()
