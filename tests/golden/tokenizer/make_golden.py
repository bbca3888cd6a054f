#!/usr/bin/env python3
"""Makes the tokenizer goldens with the `tokenizers` library (versions: see VERSIONS).

    pip install tokenizers gguf unicodedata2==16.0.0
    python3 make_strings.py
    python3 make_golden.py --models DIR [--llama3-json tokenizer.json]

Writes beside itself:
  small.vocab       a byte-level BPE vocabulary, trained here on strings.txt: what `make test` uses
  NAME.ids          one line for each line of strings.txt and each of these vocabularies:
                    small-smollm, small-qwen2, ...: small.vocab with that pre-tokenizer
                    smollm2-135m, qwen2.5-coder-0.5b: the model files in DIR
                    deepseek-r1-qwen-vocab, llama3.1-vocab: files that this script writes to DIR, which hold a
                    vocabulary and no weights (Qwen's with the special tokens of the R1 distills; Llama 3.1's)
  PRE.words         one hash for each line of strings.txt: of the lengths in bytes of the words that the
                    pre-tokenizer PRE cuts it into (ids alone would hide a wrong cut where nothing merges)

A line of NAME.ids is  PLAIN [SPECIAL] [: ids], where PLAIN is the hash of the ids without special tokens, SPECIAL
the hash of those with them if that is another, and ids, on every 16th line, the plain ids themselves. The line is
"-" where the text has a byte for which the vocabulary has no token: the library drops it, we write U+FFFD.
A hash is FNV-1a, 64 bits, over the ids as little-endian 32-bit numbers.

For "smollm" the library asks Rust what a number is, which knows 13 characters of Unicode 17 (U+11DE0 to U+11DE9,
U+16FF4 to U+16FF6) that the tables of both its expressions and Deepwell's do not; strings.txt has none of them.

No normaliser is used: Deepwell keeps a text's bytes (the files of Qwen's own tokenizer ask for NFC).
"""
import argparse
import importlib.metadata
import json
import pathlib
import platform
import re
import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
IDS_EVERY = 16
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def by_expression(expression):
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# name: (pre-tokenizer as in the models' tokenizer.json, ignore_merges)
PRE_TOKENIZERS = {
    "smollm": (lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2()]), False),
    "qwen2": (lambda: by_expression(CL100K % ""), False),
    "deepseek-r1-qwen": (lambda: by_expression(CL100K % ""), False),
    "llama-bpe": (lambda: by_expression(CL100K % "{1,3}"), True),
    "gpt-2": (gpt2, False),
}

SMALL_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|a|>", "<|a|>b", "<｜end▁of▁sentence｜>", "<|eot_id|>"]
SMALL_USER_DEFINED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

# The added tokens of DeepSeek-R1-Distill-Qwen-1.5B where they differ from Qwen2.5's.
R1_QWEN_ADDED = {151643: ("<｜end▁of▁sentence｜>", CONTROL), 151644: ("<｜User｜>", USER_DEFINED), 151645: ("<｜Assistant｜>", USER_DEFINED),
                 151646: ("<｜begin▁of▁sentence｜>", CONTROL), 151647: ("<|EOT|>", CONTROL), 151648: ("<think>", USER_DEFINED),
                 151649: ("</think>", USER_DEFINED)}


def byte_alphabet():
    visible = [b for b in range(256) if 0x20 < b < 0x7F or (b > 0xA0 and b != 0xAD)]
    chars, stand_in = {}, 0x100
    for byte in range(256):
        chars[byte] = chr(byte) if byte in visible else chr(stand_in)
        stand_in += byte not in visible
    return chars


ALPHABET = byte_alphabet()


def unescape(line):
    named = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
    return re.sub(r"\\(?:u\{([0-9A-F]+)\}|(.))", lambda m: chr(int(m[1], 16)) if m[1] else named[m[2]], line)


def fnv1a(ids):
    h = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


class Vocabulary:
    """tokens, kinds and merges as a GGUF file has them; merges as pairs."""

    def __init__(self, tokens, kinds, merges):
        self.tokens, self.kinds, self.merges = tokens, kinds, merges

    def tokenizer(self, pre, with_specials):
        make_pre, ignore_merges = PRE_TOKENIZERS[pre]
        vocab = {token: i for i, token in enumerate(self.tokens) if self.kinds[i] == NORMAL}
        if with_specials:  # added tokens keep their ids only if the model knows them
            vocab |= {token: i for i, token in enumerate(self.tokens) if self.kinds[i] in (CONTROL, USER_DEFINED)}
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=self.merges, ignore_merges=ignore_merges))
        tokenizer.pre_tokenizer = make_pre()
        tokenizer.decoder = decoders.ByteLevel()
        if with_specials:
            for kind, is_control in ((CONTROL, True), (USER_DEFINED, False)):
                added = [AddedToken(t, special=is_control, normalized=False) for i, t in enumerate(self.tokens) if self.kinds[i] == kind]
                tokenizer.add_special_tokens(added) if is_control else tokenizer.add_tokens(added)
        return tokenizer


def read_gguf(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    return Vocabulary(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents(), merges)


def write_gguf(path, pre, vocabulary, eos):
    from gguf import GGUFWriter
    writer = GGUFWriter(path, "none")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges([" ".join(merge) for merge in vocabulary.merges])
    writer.add_eos_token_id(eos)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def train_small(strings):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = by_expression(CL100K % "{1,3}")
    trainer = trainers.BpeTrainer(vocab_size=2600, min_frequency=2, show_progress=False, initial_alphabet=list(ALPHABET.values()), max_token_length=24)
    tokenizer.train_from_iterator(strings, trainer)
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [ALPHABET[b] for b in range(256)]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    # Words that no merge reaches: only "ignore_merges" yields them.
    counts = {}
    for text in strings:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text):
            counts[word] = counts.get(word, 0) + 1
    known = set(tokens)
    words = [w for w in sorted(counts, key=lambda w: (-counts[w], w)) if len(w) >= 3 and w not in known][:60]
    added = SMALL_CONTROL + SMALL_USER_DEFINED
    kinds = [NORMAL] * (len(tokens) + len(words)) + [CONTROL] * len(SMALL_CONTROL) + [USER_DEFINED] * len(SMALL_USER_DEFINED)
    lines = ["# Made by make_golden.py: 256 byte tokens (not listed), the results of merges in their order, then the rest."]
    lines += ["[merges]"] + [" ".join(m) for m in merges] + ["[words]"] + words + ["[control]"] + SMALL_CONTROL + ["[user_defined]"] + SMALL_USER_DEFINED
    (HERE / "small.vocab").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return Vocabulary(tokens + words + added, kinds, merges)


def write_ids(name, pre, vocabulary, strings):
    plain, special = (vocabulary.tokenizer(pre, with_specials) for with_specials in (False, True))
    known = {t for t, kind in zip(vocabulary.tokens, vocabulary.kinds) if kind == NORMAL}
    missing = {byte for byte in range(256) if ALPHABET[byte] not in known}
    lines = [f"# {name}: pre-tokenizer {pre}; see make_golden.py"]
    for i, text in enumerate(strings):
        if missing & set(text.encode()):
            lines.append("-")
            continue
        ids = plain.encode(text, add_special_tokens=False).ids
        special_ids = special.encode(text, add_special_tokens=False).ids
        assert plain.decode(ids, skip_special_tokens=False) == text, text
        line = fnv1a(ids)
        if special_ids != ids:
            line += " " + fnv1a(special_ids)
        if i % IDS_EVERY == 0:
            line += " : " + " ".join(map(str, ids))
        lines.append(line)
    path = HERE / f"{name}.ids"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{name}: {len(strings)} strings, {lines.count('-')} left out, {path.stat().st_size} bytes")


def write_words(pre, strings):
    pre_tokenizer = PRE_TOKENIZERS[pre][0]()
    # ByteLevel comes last, so that a piece has one character for each byte.
    lines = [fnv1a([len(piece) for piece, _ in pre_tokenizer.pre_tokenize_str(text)]) for text in strings]
    (HERE / f"{pre}.words").write_text("\n".join([f"# words of {pre}; see make_golden.py"] + lines) + "\n", newline="\n")


def r1_qwen(qwen):
    tokens, kinds = list(qwen.tokens), list(qwen.kinds)
    for i, (token, kind) in R1_QWEN_ADDED.items():
        tokens[i], kinds[i] = token, kind
    return Vocabulary(tokens, kinds, qwen.merges)


def llama3(path):
    data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    token_of_id = {i: t for t, i in data["model"]["vocab"].items()} | {a["id"]: a["content"] for a in data["added_tokens"]}
    added = {a["id"]: CONTROL if a["special"] else USER_DEFINED for a in data["added_tokens"]}
    tokens = [token_of_id[i] for i in range(len(token_of_id))]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in data["model"]["merges"]]
    return Vocabulary(tokens, [added.get(i, NORMAL) for i in range(len(tokens))], merges)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder with the model files")
    parser.add_argument("--llama3-json", help="tokenizer.json of Llama 3.1")
    args = parser.parse_args()
    lines = (HERE / "strings.txt").read_text(encoding="utf-8").split("\n")[:-1]
    strings = [unescape(line) for line in lines]
    small = train_small(strings)
    for pre in PRE_TOKENIZERS:
        write_words(pre, strings)
        write_ids(f"small-{pre}", pre, small, strings)
    write_ids("smollm2-135m", "smollm", read_gguf(args.models / "smollm2-135m.gguf"), strings)
    qwen = read_gguf(args.models / "qwen2.5-coder-0.5b.gguf")
    write_ids("qwen2.5-coder-0.5b", "qwen2", qwen, strings)
    distill = r1_qwen(qwen)
    write_gguf(args.models / "deepseek-r1-qwen-vocab.gguf", "deepseek-r1-qwen", distill, 151643)
    write_ids("deepseek-r1-qwen-vocab", "deepseek-r1-qwen", distill, strings)
    if args.llama3_json:
        llama = llama3(args.llama3_json)
        write_gguf(args.models / "llama3.1-vocab.gguf", "llama-bpe", llama, 128009)
        write_ids("llama3.1-vocab", "llama-bpe", llama, strings)
    versions = [f"{p} {importlib.metadata.version(p)}" for p in ("tokenizers", "gguf", "unicodedata2")]
    (HERE / "VERSIONS").write_text("\n".join(versions + [f"python {platform.python_version()}", "unicode 16.0.0"]) + "\n")


if __name__ == "__main__":
    main()
