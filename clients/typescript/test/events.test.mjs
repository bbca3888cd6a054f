// Cutting events: wherever the bytes are split, the same events come out.
import assert from "node:assert/strict";
import test from "node:test";

import { EventCutter } from "../src/events.mjs";
import { ANSWER, rawEvents } from "./scripted_server.mjs";

const EXPECTED = [
  ["0", "", '{"id":"chatcmpl-a1","choices":[]}'],
  [undefined, "", ""],
  ["1", "", '{"t":"水滴"}'],
  ["2", "", ""],
  ["3", "", '{\n"t":"two lines"}'],
  ["3!", "message", '{"t":"🜄é"}'],
  ["3!u", "", "[DONE]"],
];

function cut(pieces) {
  const cutter = new EventCutter();
  const events = pieces.flatMap((piece) => cutter.feed(Buffer.from(piece)));
  return [...events, ...cutter.end().events];
}

for (const [name, lineEnd] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
  test(`the same events wherever the bytes are split, ${name}`, () => {
    const data = Buffer.from(rawEvents(ANSWER, lineEnd).join(""));
    for (let at = 0; at <= data.length; at += 1) {
      const events = cut([data.subarray(0, at), data.subarray(at)]);
      assert.deepEqual(events.map(({ id, type, data }) => [id, type, data]), EXPECTED, `cut at ${at}`);
      assert.ok(Buffer.concat(events.map((event) => event.raw)).equals(data), `cut at ${at}`);
    }
    const single = cut([...data].map((byte) => [byte]));
    assert.deepEqual(single.map((event) => event.data), EXPECTED.map(([, , data]) => data));
  });
}

test("an event comes out with its last byte", () => {
  const cutter = new EventCutter();
  assert.equal(cutter.feed(Buffer.from("data: a\n")).length, 0);
  assert.equal(cutter.feed(Buffer.from("\n"))[0].data, "a");
});

test("half an event stays inside", () => {
  const cutter = new EventCutter();
  assert.equal(cutter.feed(Buffer.from("data: a\n\ndata: b\n")).length, 1);
  assert.equal(Buffer.from(cutter.end().rest).toString(), "data: b\n");
  assert.equal(cutter.feed(Buffer.from("data: c\n\n"))[0].data, "c");
});

test("an empty id forgets the last one, and one with a NUL does not count", () => {
  assert.equal(cut(["id\ndata: a\n\n"])[0].id, "");
  assert.equal(cut(["id: 1\0\ndata: a\n\n"])[0].id, undefined);
});

test("further empty lines belong to no event", () => {
  const found = cut(["data: a\n\n\n\ndata: b\n\n"]).filter((event) => event.data);
  assert.deepEqual(found.map((event) => event.data), ["a", "b"]);
});
