# Writes a copy of a GGUF model with some of its layers, or with more of them: pairs of models with one vocabulary where
# no trained pair can be had.
#
#   python bench/change_layers.py MODEL.gguf SMALLER.gguf --keep 0-7,20-23
#   python bench/change_layers.py MODEL.gguf LARGER.gguf --idle 90
#
# A smaller one is untrained, so as a draft for the model it is mostly wrong. A larger one has layers behind the model's
# own that compute but add nothing (their output matrices are zero), so the model is a draft for it that is always right:
# with it, time is all that is measured. Needs gguf (the package of llama.cpp).
import argparse
import re

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter


def layers_of(text):
    kept = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        kept += range(int(first), int(last or first) + 1)
    return kept


def main():
    parser = argparse.ArgumentParser(description="a model with fewer or more layers")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--keep", type=layers_of, metavar="0-7,20-23")
    parser.add_argument("--idle", type=int, default=0, help="layers to add that do nothing")
    args = parser.parse_args()
    reader = GGUFReader(args.model)
    architecture = reader.get_field("general.architecture").contents()
    n_layers = reader.get_field(f"{architecture}.block_count").contents()
    # Of each layer of the new file: the old one's number.
    layers = (args.keep or list(range(n_layers))) + [n_layers - 1] * args.idle
    n_working = len(layers) - args.idle
    writer = GGUFWriter(args.out, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        value = len(layers) if field.name == f"{architecture}.block_count" else field.contents()
        writer.add_key_value(field.name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        in_layer = re.match(r"blk\.(\d+)\.(.*)", tensor.name)
        if not in_layer:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        for new, old in enumerate(layers):
            if old != int(in_layer[1]):
                continue
            is_silent = new >= n_working and in_layer[2] in ("attn_output.weight", "ffn_down.weight")
            data = np.zeros_like(tensor.data) if is_silent else tensor.data
            writer.add_tensor(f"blk.{new}.{in_layer[2]}", data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
