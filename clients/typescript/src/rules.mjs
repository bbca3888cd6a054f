// What is done about a broken connection, without doing it: which requests, which answers, how often.
// index.mjs carries it out. Spec: docs/clients.md
import { EventCutter } from "./events.mjs";

const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 500;

const COMPLETIONS = "/chat/completions";
const USABLE_ID = /^[A-Za-z0-9_-]+$/;

/** @param {string} method @param {URL} url */
export function isCompletion(method, url) {
  return method === "POST" && url.pathname.endsWith(COMPLETIONS);
}

/** @param {Response} response */
export function isEventStream(response) {
  const kind = (response.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
  return response.status === 200 && kind === "text/event-stream" && response.body !== null;
}

/** Whether the server, or a proxy before it, will be back. @param {Response} response */
export function isBusy(response) {
  return [429, 502, 503, 504].includes(response.status);
}

/**
 * Whether the same completion may be taken in a moment. A server that comes or goes says so; one that has too much to
 * do says when to come again, which is the caller's to keep.
 * @param {Response} response @param {ArrayBuffer | null} body @param {boolean} isRecovering a connection broke before
 */
export function isPassing(response, body, isRecovering) {
  if (isRecovering && isBusy(response)) return true;
  if (![409, 503].includes(response.status) || !body) return false;
  const { code } = fieldsOf(new TextDecoder().decode(body)).error ?? {};
  return ["model_loading", "shutting_down", "answer_elsewhere"].includes(code);
}

/** When the next attempt is due. Starts anew whenever the answer goes on. */
export class Patience {
  #limitMs;
  #nTries = 0;
  #deadline = 0;

  /** @param {number} limitMs */
  constructor(limitMs) {
    this.#limitMs = limitMs;
  }

  renew() {
    this.#nTries = 0;
  }

  /** How long to wait before the next attempt, in ms; undefined when the limit is reached. */
  nextDelayMs() {
    const now = performance.now();
    this.#nTries += 1;
    if (this.#nTries === 1) {
      this.#deadline = now + this.#limitMs;
      return 0;
    }
    const doubled = FIRST_DELAY_MS * 2 ** Math.min(this.#nTries - 2, 10);
    // Many clients lose the same server at once.
    const delay = Math.min(LONGEST_DELAY_MS, doubled) * (0.8 + 0.2 * Math.random());
    return now + delay <= this.#deadline ? delay : undefined;
  }
}

/** How far one streamed answer has come, and what of it may go on to the caller: whole events only. */
export class Answer {
  #cutter = new EventCutter();
  /** @type {string | undefined} */ #cursor;
  #id = "";
  #isNamed = false;
  #isResumable = true;
  #hasBegun = false;
  isOver = false;
  /**
   * An error event that says that the answer goes on elsewhere: shown only if it cannot be had.
   * @type {Uint8Array | undefined}
   */
  heldError;

  /** The bytes that come now are those of `response`. @param {Response} response */
  attach(response) {
    const name = response.headers.get("deepwell-stream-id");
    if (name) {
      this.#id = name;
      this.#isNamed = true;
    }
    if (response.headers.get("deepwell-resumable") === "false") this.#isResumable = false;
    this.heldError = undefined;
  }

  /** @param {Uint8Array} data @returns {Uint8Array[]} the events that are whole now */
  take(data) {
    return this.#note(this.#cutter.feed(data));
  }

  /** The connection ended: what is whole, and what is half an event. */
  end() {
    const { events, rest } = this.#cutter.end();
    return { whole: this.#note(events), rest };
  }

  /**
   * Whether an orderly end of the connection is the answer's end. Deepwell's answers end with [DONE] or an error, and
   * some fetches take a lost connection for an orderly end; other servers' streams are passed on as they are.
   */
  get mayEndHere() {
    return this.#hasBegun && !this.#isDeepwell;
  }

  get #isDeepwell() {
    return this.#cursor !== undefined || this.#isNamed;
  }

  /**
   * What gets the rest of the answer; undefined if nothing does.
   * @template {RequestInit} Init
   * @param {URL} url @param {Init} init of the completion
   * @returns {{ url: URL, init: Init } | undefined}
   */
  nextRequest(url, init) {
    if (!this.#isResumable) return undefined;
    // Nothing came, and its key keeps it from running twice.
    if (!this.#hasBegun && !this.#id) return { url, init };
    if (!this.#isDeepwell || !USABLE_ID.test(this.#id)) return undefined;
    const rest = new URL(url);
    rest.pathname = url.pathname.slice(0, -COMPLETIONS.length) + "/streams/" + this.#id;
    const headers = new Headers(init.headers);
    for (const name of ["content-length", "content-type", "idempotency-key", "last-event-id"]) headers.delete(name);
    headers.set("accept", "text/event-stream");
    if (this.#cursor) headers.set("last-event-id", this.#cursor);
    return { url: rest, init: { ...init, method: "GET", headers, body: undefined } };
  }

  /** @param {import("./events.mjs").Event[]} events */
  #note(events) {
    const whole = [];
    for (const event of events) {
      if (this.heldError) break;
      if (event.type === "error" && fieldsOf(event.data).error?.resumable === true) {
        this.heldError = event.raw;
        break;
      }
      if (event.id !== undefined) this.#cursor = event.id;
      if (event.data && !this.#hasBegun) {
        this.#hasBegun = true;
        const first = fieldsOf(event.data);
        this.#id ||= String(first.id ?? "");
        if (first.resumable === false) this.#isResumable = false;
      }
      if (event.type === "error" || event.data === "[DONE]") this.isOver = true;
      whole.push(event.raw);
    }
    return whole;
  }
}

/** @param {string} data @returns {Record<string, any>} a JSON object; empty if it is none */
function fieldsOf(data) {
  try {
    const found = JSON.parse(data);
    return typeof found === "object" && found !== null ? found : {};
  } catch {
    return {};
  }
}
