// A fetch with which streamed answers of Deepwell outlive a broken connection: rules.mjs says how, here it is done.
//
//   import OpenAI from "openai";
//   import { reattachFetch } from "deepwell-client";
//
//   const client = new OpenAI({ baseURL: "http://127.0.0.1:8080/v1", apiKey: "none", fetch: reattachFetch() });
//   const stream = await client.chat.completions.create({
//     model: "default", messages: [{ role: "user", content: "Hello!" }], stream: true,
//   });
//   for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
import { Answer, Patience, isBusy, isCompletion, isEventStream, isPassing } from "./rules.mjs";

/** @type {typeof import("./index.d.mts").reattachFetch} */
export function reattachFetch(options = {}) {
  const settings = {
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)), // found at each call: tests replace it
    limitMs: options.limitMs ?? 30_000,
    silenceMs: options.silenceMs ?? 45_000,
  };
  return async (input, init) => {
    const request = await replayable(input, init);
    return request ? answerOf(request, settings) : settings.fetch(input, init);
  };
}

/**
 * @typedef {{ fetch: typeof globalThis.fetch, limitMs: number, silenceMs: number }} Settings
 * @typedef {{ url: URL, init: RequestInit & { signal: AbortSignal }, stop: AbortController }} Replayable
 */

/**
 * A completion in a form that can be sent twice; undefined for other requests.
 * @param {string | URL | Request} input @param {RequestInit | undefined} init
 * @returns {Promise<Replayable | undefined>}
 */
async function replayable(input, init) {
  const given = input instanceof Request ? input : undefined;
  const method = (init?.method ?? given?.method ?? "GET").toUpperCase();
  const url = new URL(given ? given.url : String(input), globalThis.location?.href);
  if (!isCompletion(method, url) || init?.body instanceof ReadableStream) return undefined;
  const headers = new Headers(init?.headers ?? given?.headers);
  if (!headers.has("idempotency-key")) headers.set("idempotency-key", newKey());
  const body = init?.body ?? (given ? await given.clone().arrayBuffer() : undefined);
  const stop = linkedController(init?.signal ?? given?.signal);
  const credentials = init?.credentials ?? given?.credentials;
  return { url, stop, init: { ...init, credentials, method, headers, body, signal: stop.signal } };
}

function newKey() {
  const random = () => Math.random().toString(36).slice(2);
  // Node 18 has no global crypto, and a page without TLS has no randomUUID.
  return globalThis.crypto?.randomUUID?.() ?? `${Date.now().toString(36)}-${random()}${random()}`;
}

/** Aborts when `signal` does, or when we do. @param {AbortSignal | null | undefined} signal */
function linkedController(signal) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  else signal?.addEventListener("abort", abort, { once: true });
  return controller;
}

/** @param {Replayable} request @param {Settings} settings @returns {Promise<Response>} */
async function answerOf(request, settings) {
  const { url, init } = request;
  const patience = new Patience(settings.limitMs);
  let broken;
  let told;
  for (;;) {
    try {
      const response = await settings.fetch(url.href, init);
      if (isEventStream(response)) return streamed(request, response, settings);
      const body = response.body && (await response.arrayBuffer());
      told = withBody(response, body);
      if (!isPassing(response, body, broken !== undefined)) return told;
    } catch (error) {
      if (init.signal.aborted) throw error;
      broken ??= error;
    }
    const delayMs = patience.nextDelayMs();
    if (delayMs === undefined && broken) throw broken;
    if (delayMs === undefined) return /** @type {Response} */ (told);
    await sleep(delayMs, init.signal);
  }
}

/** @param {Replayable} request @param {Response} first @param {Settings} settings */
function streamed(request, first, settings) {
  const events = eventsOf(request, first, settings);
  const body = new ReadableStream({
    async pull(controller) {
      const { value, done } = await events.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      request.stop.abort(); // ends a read that waits
      await events.return();
    },
  });
  return withBody(first, body);
}

/**
 * Whole events, from as many connections as it takes.
 * @param {Replayable} request @param {Response} first @param {Settings} settings
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* eventsOf({ url, init }, first, settings) {
  const answer = new Answer();
  const patience = new Patience(settings.limitMs);
  let response = first;
  for (;;) {
    answer.attach(response);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    let broken;
    try {
      while (!answer.heldError) {
        const { value, done } = await withinMs(settings.silenceMs, reader.read());
        if (done) break;
        for (const event of answer.take(value)) {
          patience.renew();
          yield event;
        }
      }
    } catch (error) {
      if (init.signal.aborted) throw error;
      broken = error;
    } finally {
      reader.cancel().catch(() => {}); // the connection may be broken: then there is nothing to cancel
    }
    const { whole, rest } = answer.end();
    yield* whole;
    if (answer.isOver) return;
    if (!broken && answer.mayEndHere) {
      if (rest.length > 0) yield rest;
      return;
    }
    const next = answer.nextRequest(url, init);
    const again = next && (await openAgain(next, patience, settings));
    if (!again && answer.heldError) yield answer.heldError;
    if (!again && answer.heldError) return;
    if (!again) throw broken ?? new TypeError("the stream ended before [DONE]");
    response = again;
  }
}

/**
 * The response that holds the rest; undefined if it cannot be had.
 * @param {Pick<Replayable, "url" | "init">} request @param {Patience} patience @param {Settings} settings
 */
async function openAgain({ url, init }, patience, settings) {
  for (let delayMs = patience.nextDelayMs(); delayMs !== undefined; delayMs = patience.nextDelayMs()) {
    await sleep(delayMs, init.signal);
    try {
      const response = await settings.fetch(url.href, init);
      if (isEventStream(response)) return response;
      await response.body?.cancel();
      if (!isBusy(response)) return undefined;
    } catch (error) {
      if (init.signal.aborted) throw error;
    }
  }
  return undefined;
}

/** @param {Response} response @param {BodyInit | null} body */
function withBody(response, body) {
  const { status, statusText, headers, url } = response;
  return Object.defineProperty(new Response(body, { status, statusText, headers }), "url", { value: url });
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * The promise's outcome, or an error after `ms`.
 * @template T @param {number} ms @param {Promise<T>} promise @returns {Promise<T>}
 */
async function withinMs(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new TypeError(`the stream was silent for ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
