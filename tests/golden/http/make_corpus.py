#!/usr/bin/env python3
"""Writes the seed corpus of the HTTP request parser's fuzz target into ./corpus, one request a file.

usage: make_corpus.py        (no packages needed; any Python 3)
"""
import pathlib

HOST = b"Host: t\r\n"
CHUNKED = HOST + b"Transfer-Encoding: chunked\r\n\r\n"

SEEDS = {
    "get": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "get_http10": b"GET /a HTTP/1.0\r\n\r\n",
    "absolute_form": b"GET http://t/a?b=c HTTP/1.1\r\n" + HOST + b"\r\n",
    "options_star": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "encoded_path": b"GET /%E4%BD%A0/a%2Fb?x=%26+y HTTP/1.1\r\n" + HOST + b"\r\n",
    "post_length": b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\nhello world",
    "post_short": b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\nhello",
    "post_pipelined": b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nxGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "chunked": b"POST /p HTTP/1.1\r\n" + CHUNKED + b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    "chunked_trailer": b"POST /p HTTP/1.1\r\n" + CHUNKED + b"1\r\nx\r\n0\r\nContent-Length: 4\r\nX: y\r\n\r\n",
    "chunk_quoted_extension": b"POST /p HTTP/1.1\r\n" + CHUNKED + b'2;a="q\\"x";b\r\nok\r\n0\r\n\r\n',
    "chunk_last_first": b"POST /p HTTP/1.1\r\n" + CHUNKED + b"0\r\nxx\r\n0\r\n\r\n",
    "chunk_overflow": b"POST /p HTTP/1.1\r\n" + CHUNKED + b"fffffffffffffffff\r\n",
    "chunk_bad_end": b"POST /p HTTP/1.1\r\n" + CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
    "expect": b"POST /p HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "length_and_chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two_lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "folded_header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n  b\r\n\tc\r\n\r\n",
    "empty_lines_first": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare_lf": b"GET / HTTP/1.1\nHost: t\n\n",
    "http2_preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls_hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    "long_target": b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many_headers": b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X: %d\r\n" % i for i in range(12)) + b"\r\n",
    "large_header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"v" * 600 + b"\r\n\r\n",
    "no_host": b"GET / HTTP/1.1\r\n\r\n",
    "upgrade": b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}


def main():
    folder = pathlib.Path(__file__).resolve().parent / "corpus"
    folder.mkdir(exist_ok=True)
    for name, data in SEEDS.items():
        (folder / name).write_bytes(data)
    print(f"{len(SEEDS)} seeds in {folder.name}/")


if __name__ == "__main__":
    main()
