// A server that breaks on purpose: it speaks just enough HTTP/1.1 on plain sockets to end anywhere.
import net from "node:net";

/**
 * @typedef {{ method: string, path: string, headers: Record<string, string>, body: string }} Request
 * @typedef {{ data: Buffer, cut?: number, isReset?: boolean, isHeld?: boolean }} Reply `cut`: so many bytes are sent, then
 *   the connection ends, with a reset if so wanted; or it is held, silent
 */

/** Answers each connection's one request with what `script(request)` returns. */
export class ScriptedServer {
  /** @type {Request[]} */ requests = [];
  /** @type {Set<net.Socket>} */ #peers = new Set();
  #server = net.createServer((peer) => this.#answer(peer));

  /** @param {(request: Request) => Reply | Promise<Reply>} script */
  constructor(script) {
    this.script = script;
  }

  async listen(port = 0) {
    await new Promise((resolve) => this.#server.listen(port, "127.0.0.1", () => resolve(undefined)));
    this.port = /** @type {net.AddressInfo} */ (this.#server.address()).port;
    this.url = `http://127.0.0.1:${this.port}/v1`;
    return this;
  }

  stopListening() {
    this.#server.close();
  }

  close() {
    this.stopListening();
    for (const peer of this.#peers) peer.destroy();
  }

  /** Connections that brought a request and are open, once those that were left have had time to close. */
  async nOpen() {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [...this.#peers].filter((peer) => peer.bytesRead > 0).length;
  }

  /** @param {net.Socket} peer */
  #answer(peer) {
    let data = Buffer.alloc(0);
    this.#peers.add(peer);
    peer.on("close", () => this.#peers.delete(peer));
    peer.on("error", () => {}); // the client left first
    peer.on("data", async (piece) => {
      data = Buffer.concat([data, piece]);
      const request = whole(data);
      if (!request) return;
      data = Buffer.alloc(0);
      this.requests.push(request);
      const reply = await this.script(request);
      const sent = reply.data.subarray(0, reply.cut ?? reply.data.length);
      if (reply.isHeld) return void peer.write(sent);
      const finish = () => (reply.isReset ? peer.resetAndDestroy() : peer.end());
      if (sent.length > 0) peer.write(sent, finish);
      else finish();
    });
  }
}

/** @param {Buffer} data @returns {Request | undefined} */
function whole(data) {
  const end = data.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first, ...lines] = data.subarray(0, end).toString("latin1").split("\r\n");
  const [method, path] = first.split(" ");
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );
  const body = data.subarray(end + 4);
  return body.length < Number(headers["content-length"] ?? 0) ? undefined : { method, path, headers, body: body.toString() };
}

/** A response with a length. @param {number} status @param {string} kind @param {string} body */
export function http(status, kind, body) {
  const lines = [`HTTP/1.1 ${status} X`, `Content-Type: ${kind}`, `Content-Length: ${body.length}`, "Connection: close", "", body];
  return Buffer.from(lines.join("\r\n"));
}

/** A streamed response, one chunk an event, as servers write them. @param {string[]} events @param {string[]} headers */
export function sse(events, headers = []) {
  const lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", "Connection: close"];
  const chunks = events.map((event) => `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`);
  return Buffer.from([...lines, ...headers, "", ""].join("\r\n") + chunks.join("") + "0\r\n\r\n");
}

export const STREAM_ID = "chatcmpl-a1";

/** @type {{ cursor?: string, lines: string[] }[]} */
export const ANSWER = [
  { cursor: "0", lines: [`data: {"id":"${STREAM_ID}","choices":[]}`] },
  { lines: [": ping"] },
  { cursor: "1", lines: ['data: {"t":"水滴"}'] },
  { cursor: "2", lines: [] }, // an id alone
  { cursor: "3", lines: ["data: {", 'data:"t":"two lines"}'] },
  { cursor: "3!", lines: [": why not", "event: message", 'data: {"t":"🜄é"}'] },
  { cursor: "3!u", lines: ["data: [DONE]"] },
];

/** @param {typeof ANSWER} events */
export function rawEvents(events, lineEnd = "\n") {
  return events.map(({ cursor, lines }) => {
    const all = cursor === undefined ? lines : [...lines, `id: ${cursor}`];
    return [...all, ""].map((line) => line + lineEnd).join("");
  });
}

/** Serves ANSWER; the n-th connection is cut after cuts[n] bytes, and later ones are whole. */
export class AnswerScript {
  /** @param {{ cuts?: number[], isReset?: boolean, lineEnd?: string, headers?: string[] }} options */
  constructor({ cuts = [], isReset = false, lineEnd = "\n", headers = [] } = {}) {
    Object.assign(this, { cuts, isReset, lineEnd, headers });
    this.keys = new Set();
  }

  /** @param {Request} request @returns {Reply} */
  reply(request) {
    let events = ANSWER;
    if (request.method === "POST") {
      this.keys.add(request.headers["idempotency-key"]);
    } else {
      if (request.path !== `/v1/streams/${STREAM_ID}` || request.body) throw new Error(`unexpected ${request.path}`);
      const cursor = request.headers["last-event-id"];
      const last = cursor === undefined ? -1 : ANSWER.findIndex((event) => event.cursor === cursor);
      events = ANSWER.slice(last + 1).filter((event) => cursor === undefined || event.cursor !== undefined);
    }
    return { data: sse(rawEvents(events, this.lineEnd), this.headers), cut: this.cuts.shift(), isReset: this.isReset };
  }
}
