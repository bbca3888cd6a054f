// Server-sent events, cut out of a byte stream whole.
// Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html

const CR = 13;
const LF = 10;

/**
 * @typedef {object} Event
 * @property {Uint8Array} raw as it came, with the empty line
 * @property {string | undefined} id undefined: it has no `id:` line, so the last one stays
 * @property {string} type
 * @property {string} data
 */

/** Collects bytes and gives them back as whole events; half an event stays inside. */
export class EventCutter {
  #rest = new Uint8Array(0);
  #nSeen = 0; // bytes of the rest that were looked at
  #nEnds = 0; // line ends in a row just before them

  /** @param {Uint8Array} data @returns {Event[]} */
  feed(data) {
    const bytes = new Uint8Array(this.#rest.length + data.length);
    bytes.set(this.#rest);
    bytes.set(data, this.#rest.length);
    const events = [];
    let start = 0;
    let i = this.#nSeen;
    while (i < bytes.length) {
      // A CR at the very end of what has come may be half of a CRLF, so it ends nothing yet.
      if (bytes[i] === CR && i + 1 === bytes.length) break;
      if (bytes[i] === CR && bytes[i + 1] === LF) i += 1;
      const isEnd = bytes[i] === LF || bytes[i] === CR;
      this.#nEnds = isEnd ? this.#nEnds + 1 : 0;
      i += 1;
      if (this.#nEnds === 2) {
        events.push(parse(bytes.slice(start, i)));
        start = i;
        this.#nEnds = 0;
      }
    }
    this.#rest = bytes.slice(start);
    this.#nSeen = i - start;
    return events;
  }

  /**
   * No more bytes come: the event that waited for the other half of a CRLF, and what is no whole event.
   * @returns {{ events: Event[], rest: Uint8Array }}
   */
  end() {
    const rest = this.#rest;
    const isWhole = this.#nEnds === 1 && rest.length > this.#nSeen;
    this.#rest = new Uint8Array(0);
    this.#nSeen = 0;
    this.#nEnds = 0;
    return isWhole ? { events: [parse(rest)], rest: this.#rest } : { events: [], rest };
  }
}

/** @param {Uint8Array} raw @returns {Event} */
function parse(raw) {
  let id;
  let type = "";
  const data = [];
  for (const line of new TextDecoder().decode(raw).split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data.push(value);
    else if (name === "event") type = value;
    else if (name === "id" && !value.includes("\0")) id = value;
  }
  return { raw, id, type, data: data.join("\n") };
}
