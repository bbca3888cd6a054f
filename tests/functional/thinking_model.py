# A copy of a model file whose chat template opens a thought in each answer and drops the thoughts of earlier ones, as
# DeepSeek-R1's does. Reference of the file format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import struct

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}")
KEY = "tokenizer.chat_template"
ALIGNMENT = 32  # of files that name no other
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        n_bytes = self.number("Q")
        self.at += n_bytes
        return self.data[self.at - n_bytes:self.at].decode()

    def skip_value(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            of, n = self.number("I"), self.number("Q")
            for _ in range(n):
                self.skip_value(of)
        else:
            self.at += SCALAR_BYTES[kind]


def write_thinking_model(source, target):
    """Only the template's value is replaced; tensors move by whole blocks of the alignment."""
    data = source.read_bytes()
    reader = Reader(data)
    assert data[:4] == b"GGUF"
    reader.at = 8
    n_tensors, n_pairs = reader.number("Q"), reader.number("Q")
    cut = None
    for _ in range(n_pairs):
        key, kind = reader.string(), reader.number("I")
        begin = reader.at
        reader.skip_value(kind)
        if key == KEY:
            cut = begin, reader.at
    for _ in range(n_tensors):
        reader.string()
        n_dimensions = reader.number("I")
        reader.at += 8 * n_dimensions + 4 + 8
    text = TEMPLATE.encode()
    head = data[:cut[0]] + struct.pack("<Q", len(text)) + text + data[cut[1]:reader.at]
    with open(target, "wb") as file:
        file.write(head + b"\0" * (-len(head) % ALIGNMENT))
        file.write(memoryview(data)[reader.at + -reader.at % ALIGNMENT:])
