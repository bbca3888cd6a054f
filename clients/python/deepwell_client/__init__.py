# An httpx transport with which streamed answers of Deepwell outlive a broken connection.
#
#   from openai import OpenAI
#   from deepwell_client import http_client
#
#   client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="none", http_client=http_client())
#   for chunk in client.chat.completions.create(
#       model="default", messages=[{"role": "user", "content": "Hello!"}], stream=True
#   ):
#       if chunk.choices:
#           print(chunk.choices[0].delta.content or "", end="", flush=True)
from __future__ import annotations

from typing import Any

import httpx

from .rules import DEFAULT_LIMIT_S
from .transport import AsyncReattachTransport, ReattachTransport

__all__ = ["AsyncReattachTransport", "ReattachTransport", "async_http_client", "http_client"]


def http_client(limit_s: float = DEFAULT_LIMIT_S, **options: Any) -> httpx.Client:
    """A client for `OpenAI(http_client=...)`; `options` are those of httpx.Client.

    `limit_s` is how long a server may be away before the connection's error is raised.
    """
    transport = options.pop("transport", None) or httpx.HTTPTransport(**_transport_options(options))
    return httpx.Client(transport=ReattachTransport(transport, limit_s), **_with_defaults(options))


def async_http_client(limit_s: float = DEFAULT_LIMIT_S, **options: Any) -> httpx.AsyncClient:
    """The same for `AsyncOpenAI(http_client=...)`."""
    transport = options.pop("transport", None) or httpx.AsyncHTTPTransport(**_transport_options(options))
    return httpx.AsyncClient(transport=AsyncReattachTransport(transport, limit_s), **_with_defaults(options))


def _transport_options(options: dict[str, Any]) -> dict[str, Any]:
    """What httpx.Client would hand to a transport of its own, taken out of `options`."""
    names = ("verify", "cert", "http1", "http2", "proxy", "limits", "trust_env")
    taken = {name: options.pop(name) for name in names if name in options}
    # Those of the OpenAI client: httpx's own 100 connections would make the 101st stream wait.
    taken.setdefault("limits", httpx.Limits(max_connections=1000, max_keepalive_connections=100))
    return taken


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """The OpenAI client's own: httpx's 5 s are too short for a model that reads a long prompt."""
    return {"timeout": httpx.Timeout(600, connect=5), "follow_redirects": True, **options}
