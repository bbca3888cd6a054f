"""Makes GGUF files with the PyPI package gguf, for the reader's tests and as seeds of its fuzzing.

Run: python3 make_gguf.py [SmolLM2-135M-Instruct.Q4_1.gguf]   (versions: see VERSIONS, which it writes too)

all_types.gguf: a key of every value type, arrays, and a tensor of every type that has a codec.
like_smollm2.gguf: the metadata of a real model (arrays cut to 48 entries) and its first layer at a small width; made
    only if the model file is given.
"""

import importlib.metadata
import pathlib
import sys

import gguf
import numpy as np

here = pathlib.Path(__file__).parent
random = np.random.default_rng(3)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_tensor(writer: gguf.GGUFWriter, name: str, kind: gguf.GGMLQuantizationType, shape: list[int]) -> None:
    n_block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows = shape[:-1] + [shape[-1] // n_block * n_bytes]
    data = random.integers(0, 0x40, rows, dtype=np.uint8)
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        writer.add_tensor(name, data.view(np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16))
    else:
        writer.add_tensor(name, data, raw_dtype=kind)


def all_types() -> None:
    writer = gguf.GGUFWriter(here / "all_types.gguf", "test")
    writer.add_uint8("t.uint8", 200)
    writer.add_int8("t.int8", -100)
    writer.add_uint16("t.uint16", 60000)
    writer.add_int16("t.int16", -30000)
    writer.add_uint32("t.uint32", 4000000000)
    writer.add_int32("t.int32", -2000000000)
    writer.add_uint64("t.uint64", 2**64 - 1)
    writer.add_int64("t.int64", -2**63)
    writer.add_float32("t.float32", 0.1)
    writer.add_float64("t.float64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "水 \"quoted\"\n")
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [0.5, -1.5])
    writer.add_array("t.strings", ["a", "", "中文"])
    writer.add_array("t.bools", [True, False])
    writer.add_array("t.many", list(range(100)))
    for name in ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
                 "IQ4_NL", "IQ4_XS"]:
        random_tensor(writer, f"w.{name}", gguf.GGMLQuantizationType[name], [2, 256])
    writer.add_tensor("w.cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    writer.add_tensor("w.vector", np.arange(5, dtype=np.float32))
    finish(writer)


def like_real(path: str) -> None:
    source = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(here / "like_smollm2.gguf", "llama")
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = field.contents()
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(field.name, value[:48], kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(field.name, value, kind)
    for tensor in source.tensors:
        if tensor.name.startswith("blk.") and not tensor.name.startswith("blk.0."):
            continue
        shape = [min(int(n), 32) for n in reversed(tensor.shape)]
        random_tensor(writer, tensor.name, tensor.tensor_type, shape)
    finish(writer)


all_types()
if len(sys.argv) > 1:
    like_real(sys.argv[1])
(here / "VERSIONS").write_text(f"gguf {importlib.metadata.version('gguf')}\nnumpy {np.__version__}\n")
