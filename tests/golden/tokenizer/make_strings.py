#!/usr/bin/env python3
"""Writes strings.txt: the texts on which Deepwell's tokenizers are compared with the `tokenizers` library.

One string a line. Escapes: \\\\ \\n \\r \\t and \\u{HEX} for whatever cannot be seen, and for a space at either end.
The same script gives the same file (fixed seed).
"""
import pathlib
import random

ENGLISH = """The river was high that spring, and nobody remembered when the bridge had last been painted.
"I'll be there at 7:45," she said; "don't wait if it's raining."
We've measured 1,024 samples (mean = 3.14159, sd = 0.0027) and they're all within ±2%.
Please don't forget: the meeting's been moved to 2024-11-05 at 09:30 UTC+8.
HELLO WORLD, THIS ISN'T A DRILL! YOU'LL SEE WE'RE RIGHT, I'M SURE, AND THEY'D AGREE: WE'VE WON.
Why do cats purr? Nobody knows for certain, although several hypotheses exist.
Self-hosted, state-of-the-art, re-entrant, co-operative: hyphens are everywhere.
Mr. O'Neill's mother-in-law couldn't've known; y'all should've told her.
The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.
Email me at jane.doe+test@example.co.uk or visit https://example.com/a/b?c=d&e=%20f#g-h.
In 1969 the fare was £0.05; today it's €2.80, or about $3.10 (¥22.50).
Temperature fell to -40 °C (= -40 °F), i.e. 233.15 K.
A bank's records must never leave its own walls, and that is the whole point.
She whispered... then shouted!!! Then??? Nothing --- only silence -- and a dot.
Chapter IV: Of the Nature of Things; see also §12, ¶3, footnote † and ‡.
naïve café résumé façade coöperate Zürich Ångström São Paulo Łódź Reykjavík
It's 'quoted', it's "double quoted", it’s ‘curly’, it’s “curly” and it`s `backticked`.
x² + y² = z², H₂O, 10⁻³, a₁…aₙ, ½ cup, ⅓ of it, Ⅷ. and ⅷ., ①②③, 1st 2nd 3rd
unbelievable incomprehensibilities antidisestablishmentarianism floccinaucinihilipilification""".split("\n")

CHINESE = """今天天气很好，我们一起去公园散步吧。
深度学习模型的推理速度取决于内存带宽和计算能力。
他说：“我不知道该怎么办。”然后就离开了。
请问，从北京到上海坐高铁需要多长时间？大约4小时30分钟。
２０２４年１１月５日，全角数字和全角字母ＡＢＣａｂｃ。
银行、医院和工厂都需要把每一次对话保存在自己的墙内！
《红楼梦》是中国古典四大名著之一，作者曹雪芹（约1715—约1763）。
价格为￥1,299.00元，优惠后只需￥999元；库存：50件。
我想在apple工作1314151天～
人工智能（AI）正在改变世界……你怎么看？
电话：010-8888 6666，邮箱：test@例子.中国
第一百二十三章　风起云涌
機器學習與資料探勘是兩個相關的領域。
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
用Python写一个函数fib(n)，返回第n个斐波那契数。
〇一二三四五六七八九十百千万亿
𠀀𠮷野家𪚥㐂龘䶮""".split("\n")

WORLD = """これは日本語の文章です。カタカナとひらがな、漢字が混ざっています。ｶﾀｶﾅ
안녕하세요, 세계! 한국어 문장입니다. ㄱㄴㄷ
Привет, как дела? Это тестовая строка на русском языке, №5.
нещо на Български
Γειά σου Κόσμε, τι κάνεις;
مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥ ۱۲۳
שלום עולם, מה שלומך? 123 א״ב
नमस्ते दुनिया, आप कैसे हैं? १२३
สวัสดีชาวโลก สบายดีไหม ๑๒๓
កាន់តែពិសេសអាច
Xin chào thế giới, bạn khỏe không? Tiếng Việt có dấu.
Türkçe: İstanbul'da ığüşöç, I ve İ ile ı ve i.
বাংলা ভাষা ২০২৪ தமிழ் மொழி ௧௨௩ ಕನ್ನಡ ತೆಲುಗు
ქართული ენა Հայերեն լեզու አማርኛ
Ελληνικά ŉ ſtraße 'ſ I'ſ it'ſ ẞ ß ﬁ ﬂ ﬀ ﬅ ﬆ
e\u0301 a\u0308 o\u0302\u0323 \u0301 n\u0303 Z\u0335\u0321\u0353a\u0322l\u0334g\u0337o\u0338
क\u094dष\u093f ท\u0e35\u0e48 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0628\u0650\u0633\u0652\u0645\u0650
\u202eright to left override\u202c \u2066isolate\u2069 \u200frlm \u200elrm
zero\u200bwidth\u200cnon\u200djoiner\u2060word\ufeffbom\u00adsoft\u034fgrapheme
a\u00a0b\u1680c\u2000d\u2003e\u2009f\u200ag\u2028h\u2029i\u202fj\u205fk\u3000l\u0085m""".split("\n")

CODE = [
    "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n",
    "#include <vector>\n\nint main(int argc, char** argv) {\n\tstd::vector<int> v{1, 2, 3};\n\treturn v[0] - 1;\n}\n",
    "for (let i = 0; i < 10; i++) { console.log(`i=${i}`); } // done\r\n",
    "SELECT id, name FROM users WHERE age >= 18 AND name LIKE '%o''neil%' ORDER BY id DESC;",
    '{"messages": [{"role": "user", "content": "hi\\n\\u4f60\\u597d"}], "temperature": 0.7, "stop": null}',
    "<html>\n  <body class='x y'>\n    <p>&nbsp;Hello&#8230;</p>\n  </body>\n</html>",
    "if [ -f \"$HOME/.bashrc\" ]; then\n  . ~/.bashrc && echo $? | grep -E '^[0-9]+$' >&2\nfi",
    "fn main() -> Result<(), Box<dyn Error>> {\n    let x: &'static str = \"a\\tb\";\n    println!(\"{x:?}\");\n    Ok(())\n}",
    "x = {'a': 1, 'd': 2, 's': 3, 're': 4, 'll': 5}\ny = x['s'] if not x['t'] else x['ve']",
    "/* ------- ======= ******* ####### */ a+=b; c||=d; e**=2; f//=3; !!g; --h; ++i; j->k; l::m; n...o",
    "0x1F 0b1010 0o17 1e-9 1_000_000 3.14f 0xDEADBEEFull 'a' L\"w\" u8\"x\"",
    "\\begin{equation} E = mc^{2} \\label{eq:1} \\end{equation} $\\alpha \\in \\mathbb{R}^{n}$",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n\n- [ ] todo\n- [x] done\n\n```c\nint x;\n```\n\n> quote\n\n# Title\n",
    "\t\tif (a)\r\n\t\t{\r\n\t\t\tb();\r\n\t\t}\r\n",
    "    indented\n        more\n    \n\n\n\tback\n   \t \t mixed \t\n",
    "git commit -m \"fix: don't crash on 'quoted' input (#123)\"; make -j$(nproc) 2>/dev/null",
    "func (s *Server) Serve(ctx context.Context) error {\n\treturn s.http.ListenAndServe()\n}\n",
    "import numpy as np\nA = np.zeros((3, 4), dtype=np.float32)\nprint(A[:, ::2].T @ A)  # 中文注释\n",
]

EMOJI = ["😀", "🚀", "😶‍🌫️", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇳", "🇺🇸🇬🇧", "👍🏽", "👩🏿‍🚀", "1️⃣", "#️⃣", "❤️", "❤", "✅", "🦙🦙", "☃️", "™️", "🫠", "🧑‍💻",
         "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "♻︎", "⚠️", "（╯°□°）╯︵ ┻━┻", "¯\\_(ツ)_/¯", "•‿•", "→←↑↓", "█▓▒░", "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋", "♔♕♖", "☯"]

SPELLINGS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>", "<think>", "</think>",
             "<tool_call>", "</tool_call>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<|fim_prefix|>",
             "<|fim_middle|>", "<repo_name>", "<file_sep>", "<|EOT|>", "<|im_end|", "|im_end|>", "<|im_end>", "< |im_end|>", "<|IM_END|>",
             "<|im_<|im_end|>", "<|a|>", "<|a|>b", "<|a|", "[PAD151665]", "[INST]", "<s>", "</s>", "<|im_end|>>", "<<|im_end|>"]

# One or two characters of every kind that some expression tells from the others.
ALPHABET = ["a", "B", "s", "t", "d", "m", "re", "ll", "VE", "ſ", "字", "é", "ß", "ñ", "1", "23", "٣", "Ⅷ", "½", "²", "９", " ", " ", " ",
            "  ", "\t", "\n", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u000b", "'", "'", "’", "!", ".", "_", "-",
            "，", "。", "«", "$", "+", "=", "<", "|", "\u0301", "\u093f", "\u200d", "\u200b", "\ufe0f", "😀", "\u00ad", "\ufeff", "\u001f", "\x00",
            "\ue000", "\ufffd", "𝒜", "𝟙", "ʰ", "ª", "ㅎ", "가", "ا", "ς", "İ", "ǅ"]

WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were "
         "all her she there would their we him been has when who will no more if out so said what up its about than into them can only "
         "other time new some could these two may first then do any like my now over such our man me even most made after also did many "
         "model token memory server stream answer question engine kernel thread cache batch prompt weight layer attention network data "
         "don't it's we're I've you'll they'd I'm isn't CPU GPU JSON HTTP UTF-8 x86_64 v2.1 A100 GPT-4o 3D 5G").split()
HANZI = ("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同"
         "现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应"
         "战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活")


def random_strings(rng):
    out = []
    for _ in range(1150):  # every kind beside every other
        out.append("".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 12))))
    for _ in range(350):  # English
        words = [rng.choice(WORDS) for _ in range(rng.randint(2, 18))]
        text = rng.choice([" ", " ", " ", "  ", "\n", ", ", "-", "_", "/"]).join(words)
        out.append(rng.choice([text, text.capitalize() + ".", text.upper(), text.title() + "!", " " + text, text + "\n\n"]))
    for _ in range(300):  # Chinese, and both
        parts = []
        for _ in range(rng.randint(1, 6)):
            parts.append("".join(rng.choice(HANZI) for _ in range(rng.randint(1, 9))))
            parts.append(rng.choice(["，", "。", "", " ", "、", "？", "！", "\n", rng.choice(WORDS), str(rng.randint(0, 9999))]))
        out.append("".join(parts))
    for _ in range(220):  # numbers
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 14)))
        out.append(rng.choice([digits, "-" + digits, digits + "%", "$" + digits, digits + "." + digits, f"{int(digits):,}", digits + "th", "n=" + digits,
                               " " + digits, "  " + digits, "\n" + digits, digits + " " + digits, "٣" + digits, digits + "年", "½" + digits, "v" + digits + "b"]))
    for _ in range(260):  # white space
        runs = []
        for _ in range(rng.randint(1, 5)):
            runs.append("".join(rng.choice(" \t\n\r") * rng.randint(1, 6) for _ in range(rng.randint(1, 3))))
            runs.append(rng.choice(["a", "1", "!", "字", "'s", "", "\u3000", "\u00a0", "}"]))
        out.append("".join(runs))
    for _ in range(160):  # emoji
        out.append(rng.choice(["", " ", "ok "]).join(rng.choice(EMOJI + ["a", "好", "1"]) for _ in range(rng.randint(1, 6))))
    for _ in range(200):  # spellings of special tokens
        out.append("".join(rng.choice(SPELLINGS + ["user\n", "hello", " ", "\n", "你好", "1", "'s"]) for _ in range(rng.randint(1, 5))))
    blocks = [(0x80, 0x24F), (0x250, 0x52F), (0x531, 0x7B1), (0x900, 0xDF4), (0xE01, 0x10FF), (0x1200, 0x1AAD), (0x1D00, 0x214F), (0x2150, 0x2BFF), (0x2E80, 0x33FF),
              (0x3400, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xFFFD), (0x10000, 0x11FFF), (0x12000, 0x1B2FB), (0x1D000, 0x1DAFF), (0x1F000, 0x1FBF9),
              (0x20000, 0x323AF), (0xE0100, 0xE01EF), (0x10FF00, 0x10FFFF)]
    for _ in range(220):  # all of Unicode
        low, high = rng.choice(blocks)
        out.append("".join(rng.choice(["", "", " ", "a", "'", "1"]) + chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))))
    for _ in range(150):  # pieces of longer texts
        text = rng.choice(ENGLISH + CHINESE + WORLD + CODE)
        begin = rng.randrange(len(text))
        out.append(text[begin:begin + rng.randint(1, 40)])
    return out


def all_strings():
    rng = random.Random(20240611)
    strings = [""] + ENGLISH + CHINESE + WORLD + CODE + EMOJI + SPELLINGS
    strings += [chr(c) for c in range(0x100)]
    for ending in ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "vE", "M", "LL", "lL", "D", "ſ", "x", "l", "r", "v", ""]:
        strings += [f"'{ending}", f"it'{ending}", f" '{ending} x", f"''{ending}a", f"1'{ending}1", f"\n'{ending}'{ending}", f"we'{ending}ab"]
    strings += [c * n for c in [" ", "\n", "\t", "a", "1", "!", "字", "'", "😀", "\u0301", "\r\n", " \n", "\u3000", "ab", "é", "½"] for n in (2, 3, 4, 7, 16, 33, 100)]
    strings += ["a" * 500, "字" * 200, " " * 300 + "x", "=" * 400, "ab" * 150, "1234567890" * 20, "\n" * 100 + " x", "na" * 100 + " batman"]
    strings += random_strings(rng)
    return list(dict.fromkeys(strings))


def escape(text):
    out = []
    for i, c in enumerate(text):
        if c in "\\\n\r\t":
            out.append({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}[c])
        elif not c.isprintable() or not c.isascii() and (c.isspace() or ord(c) > 0x323AF) or c == " " and i in (0, len(text) - 1):
            out.append(f"\\u{{{ord(c):X}}}")
        else:
            out.append(c)
    return "".join(out)


def main():
    strings = all_strings()
    lines = [escape(text) for text in strings]
    path = pathlib.Path(__file__).with_name("strings.txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{len(lines)} strings, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
