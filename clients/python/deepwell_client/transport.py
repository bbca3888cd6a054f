# Transports that go on with an answer when its connection breaks: rules.py says how, here it is done.
# The two classes are the same, without and with await.
from __future__ import annotations

import time
from typing import AsyncIterator, Iterator, Optional

import anyio  # httpx needs it: it is always there
import httpx

from . import rules


def _with_stream(response: httpx.Response, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(response.status_code, headers=response.headers, stream=stream, extensions=response.extensions)


def _ended_early(request: httpx.Request) -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("the stream ended before [DONE]", request=request)


class ReattachTransport(httpx.BaseTransport):
    """Wraps a transport. What is not a chat completion goes through untouched.

    A completion is sent again (with one Idempotency-Key, so it runs once) until it is answered; a stream
    that breaks is read on from GET /v1/streams/{id}. When the server is away for `limit_s`, or the answer
    is not there any more, the connection's own error is raised.
    """

    def __init__(self, inner: Optional[httpx.BaseTransport] = None, limit_s: float = rules.DEFAULT_LIMIT_S) -> None:
        self._inner = inner or httpx.HTTPTransport()
        self._limit_s = limit_s

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not rules.is_completion(request):
            return self._inner.handle_request(request)
        request.read()
        rules.prepare(request)
        patience = rules.Patience(self._limit_s)
        broken: Optional[Exception] = None
        while True:
            try:
                response = self._inner.handle_request(request)
                if rules.is_event_stream(response):
                    return _with_stream(response, _Stream(self._inner, request, response, self._limit_s))
                body = self._read(response)
                told = _with_stream(response, httpx.ByteStream(body))
                if not rules.is_passing(response, body, broken is not None):
                    return told
            except rules.BROKEN as error:
                broken = broken or error
            delay_s = patience.next_delay_s()
            if delay_s is None and broken is None:
                return told
            if delay_s is None:
                raise broken
            time.sleep(delay_s)

    @staticmethod
    def _read(response: httpx.Response) -> bytes:
        try:
            return b"".join(response.stream)
        finally:
            response.close()

    def close(self) -> None:
        self._inner.close()


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: httpx.BaseTransport, request: httpx.Request, response: httpx.Response, limit_s: float) -> None:
        self._inner = inner
        self._request = request
        self._response = response
        self._answer = rules.Answer(request, response)
        self._patience = rules.Patience(limit_s)

    def __iter__(self) -> Iterator[bytes]:
        answer = self._answer
        while True:
            broken: Optional[Exception] = None
            try:
                for data in self._response.stream:
                    whole = answer.take(data)
                    if whole:
                        self._patience.renew()
                        yield whole
                    if answer.held_error:
                        break
            except rules.BROKEN_STREAM as error:
                broken = error
            whole, rest = answer.end()
            if whole:
                yield whole
            if answer.is_over:
                return
            if broken is None and answer.may_end_here:
                if rest:
                    yield rest
                return
            self._response.close()
            again = self._open_again()
            if again is None and answer.held_error:
                yield answer.held_error.raw
                return
            if again is None:
                raise broken or _ended_early(self._request)
            self._response = again
            answer.attach(again)

    def _open_again(self) -> Optional[httpx.Response]:
        """The response that holds the rest; None if it cannot be had."""
        request = self._answer.next_request()
        if request is None:
            return None
        while (delay_s := self._patience.next_delay_s()) is not None:
            time.sleep(delay_s)
            try:
                response = self._inner.handle_request(request)
            except httpx.TransportError:
                continue
            if rules.is_event_stream(response):
                return response
            response.close()
            if response.status_code not in rules.BUSY:
                return None
        return None

    def close(self) -> None:
        self._response.close()


class AsyncReattachTransport(httpx.AsyncBaseTransport):
    """ReattachTransport for httpx.AsyncClient."""

    def __init__(self, inner: Optional[httpx.AsyncBaseTransport] = None, limit_s: float = rules.DEFAULT_LIMIT_S) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()
        self._limit_s = limit_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not rules.is_completion(request):
            return await self._inner.handle_async_request(request)
        await request.aread()
        rules.prepare(request)
        patience = rules.Patience(self._limit_s)
        broken: Optional[Exception] = None
        while True:
            try:
                response = await self._inner.handle_async_request(request)
                if rules.is_event_stream(response):
                    return _with_stream(response, _AsyncStream(self._inner, request, response, self._limit_s))
                body = await self._read(response)
                told = _with_stream(response, httpx.ByteStream(body))
                if not rules.is_passing(response, body, broken is not None):
                    return told
            except rules.BROKEN as error:
                broken = broken or error
            delay_s = patience.next_delay_s()
            if delay_s is None and broken is None:
                return told
            if delay_s is None:
                raise broken
            await anyio.sleep(delay_s)

    @staticmethod
    async def _read(response: httpx.Response) -> bytes:
        try:
            return b"".join([data async for data in response.stream])
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        await self._inner.aclose()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncBaseTransport, request: httpx.Request, response: httpx.Response, limit_s: float) -> None:
        self._inner = inner
        self._request = request
        self._response = response
        self._answer = rules.Answer(request, response)
        self._patience = rules.Patience(limit_s)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        answer = self._answer
        while True:
            broken: Optional[Exception] = None
            try:
                async for data in self._response.stream:
                    whole = answer.take(data)
                    if whole:
                        self._patience.renew()
                        yield whole
                    if answer.held_error:
                        break
            except rules.BROKEN_STREAM as error:
                broken = error
            whole, rest = answer.end()
            if whole:
                yield whole
            if answer.is_over:
                return
            if broken is None and answer.may_end_here:
                if rest:
                    yield rest
                return
            await self._response.aclose()
            again = await self._open_again()
            if again is None and answer.held_error:
                yield answer.held_error.raw
                return
            if again is None:
                raise broken or _ended_early(self._request)
            self._response = again
            answer.attach(again)

    async def _open_again(self) -> Optional[httpx.Response]:
        request = self._answer.next_request()
        if request is None:
            return None
        while (delay_s := self._patience.next_delay_s()) is not None:
            await anyio.sleep(delay_s)
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError:
                continue
            if rules.is_event_stream(response):
                return response
            await response.aclose()
            if response.status_code not in rules.BUSY:
                return None
        return None

    async def aclose(self) -> None:
        await self._response.aclose()
