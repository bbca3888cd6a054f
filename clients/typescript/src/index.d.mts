// A fetch with which streamed answers of Deepwell outlive a broken connection.

export interface ReattachOptions {
  /** The fetch that does the work. Default: the global one. */
  fetch?: typeof globalThis.fetch;
  /** How long a server may be away before the connection's own error is thrown. Default: 30,000 ms. */
  limitMs?: number;
  /**
   * A stream that is silent for so long is taken for broken; the server writes a comment every 15 s.
   * Default: 45,000 ms.
   */
  silenceMs?: number;
}

/**
 * A fetch for `new OpenAI({ fetch: reattachFetch() })`. What is not a chat completion goes through untouched.
 *
 * A completion is sent again (with one Idempotency-Key, so it runs once) until it is answered; a stream that
 * breaks is read on from GET /v1/streams/{id}. When the server is away for `limitMs`, or the answer is not
 * there any more, the connection's own error is thrown.
 */
export declare function reattachFetch(options?: ReattachOptions): typeof globalThis.fetch;
