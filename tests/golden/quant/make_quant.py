"""Makes blocks.bin and halves.bin: what the PyPI package gguf decodes block bytes to, and numpy's half conversion.

Run: python3 make_quant.py   (versions: see VERSIONS, which it writes too)

blocks.bin: records of
    u32 GGUF type number, u32 number of block bytes, u32 number of elements, the bytes, the elements as f32
halves.bin: records of u32 f32 bits, u16 f16 bits (round to nearest even); then the same for bf16, after a
    record whose six bytes are all 0xff.
All little-endian.
"""

import pathlib
import platform
import struct

import gguf
import numpy as np

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL", "IQ4_XS"]
# Where the f16 scales lie in a block.
HALVES_AT = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
             "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
# zero of both signs, smallest and largest subnormal, smallest normal, one, largest, infinity, not-a-number
HALVES = [0x0000, 0x8000, 0x0001, 0x03FF, 0x8001, 0x0400, 0x3C00, 0x7BFF, 0xFBFF, 0x7C00, 0x7E01]

here = pathlib.Path(__file__).parent
random = np.random.default_rng(20240607)


def blocks_of(name: str, n_bytes: int) -> list[bytes]:
    fills = [bytes(n_bytes), b"\xff" * n_bytes, b"\x7f" * n_bytes, b"\x80" * n_bytes, b"\x55" * n_bytes]
    blocks = fills + [random.bytes(n_bytes) for _ in range(4)]
    for half in HALVES:  # each scale over random codes, and over the extreme ones
        for body in (random.bytes(n_bytes), b"\xff" * n_bytes)[: 2 if half in (0x0001, 0x3C00, 0x7BFF) else 1]:
            block = bytearray(body)
            for at in HALVES_AT.get(name, []):
                block[at:at + 2] = struct.pack("<H", half)
            blocks.append(bytes(block))
    return blocks


def write_blocks() -> None:
    with open(here / "blocks.bin", "wb") as out:
        for name in TYPES:
            kind = gguf.GGMLQuantizationType[name]
            n_elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
            if n_elements == 1:  # a "block" of these is one number: take 32 at once
                n_elements, n_bytes = 32, 32 * n_bytes
            for block in blocks_of(name, n_bytes):
                with np.errstate(all="ignore"):
                    raw = np.frombuffer(block, dtype=np.uint8)
                    if name in ("F32", "F16"):
                        raw = raw.view(np.float32 if name == "F32" else np.float16)
                    values = np.ascontiguousarray(gguf.quants.dequantize(raw, kind), dtype="<f4")
                assert values.size == n_elements
                out.write(struct.pack("<III", int(kind), n_bytes, n_elements) + block + values.tobytes())


def bf16_bits(bits: np.ndarray) -> np.ndarray:
    rows = gguf.quants.quantize(bits.view(np.float32).reshape(-1, 1), gguf.GGMLQuantizationType.BF16)
    return np.ascontiguousarray(rows).view(np.uint16).reshape(-1)


def write_halves() -> None:
    edges = []
    for half in list(range(0, 0x7C00, 331)) + [0, 1, 2, 0x3FE, 0x3FF, 0x400, 0x401, 0x7BFE, 0x7BFF]:
        bits = int(np.uint16(half).view(np.float16).astype(np.float32).view(np.uint32))
        following = int(np.uint16(half + 1).view(np.float16).astype(np.float32).view(np.uint32))
        middle = (bits + following) // 2
        edges += [bits, middle - 1, middle, middle + 1]
    edges += [0x477FEFFF, 0x477FF000, 0x47800000, 0x7F7FFFFF, 0x7F800000, 0x33000000, 0x33000001, 0x32FFFFFF, 1]
    bits = np.array(edges, dtype=np.uint32)
    bits = np.concatenate([bits, bits | np.uint32(0x80000000), random.integers(0, 0x7F800000, 500, dtype=np.uint32)])
    with np.errstate(all="ignore"):
        f16 = bits.view(np.float32).astype(np.float16).view(np.uint16)
    with open(here / "halves.bin", "wb") as out:
        for source, half in zip(bits, f16):
            out.write(struct.pack("<IH", int(source), int(half)))
        out.write(b"\xff" * 6)
        for source, half in zip(bits, bf16_bits(bits)):
            out.write(struct.pack("<IH", int(source), int(half)))


write_blocks()
write_halves()
(here / "VERSIONS").write_text(
    f"gguf {__import__('importlib.metadata').metadata.version('gguf')}\nnumpy {np.__version__}\n"
    f"python {platform.python_version()}\n")
