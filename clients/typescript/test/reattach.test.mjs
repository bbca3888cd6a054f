// The fetch against a server that breaks: each event arrives exactly once.
import assert from "node:assert/strict";
import test from "node:test";

import { reattachFetch } from "../src/index.mjs";
import { EventCutter } from "../src/events.mjs";
import { ANSWER, AnswerScript, STREAM_ID, ScriptedServer, http, rawEvents, sse } from "./scripted_server.mjs";

const JSON_KIND = "application/json";
const RESUMABLE = [`Deepwell-Stream-Id: ${STREAM_ID}`, "Deepwell-Resumable: true"];
const GONE = { data: http(404, JSON_KIND, "{}") };
const RESTARTING = { data: http(503, JSON_KIND, "{}") };
const BROKEN = { data: Buffer.alloc(0) };
// Within the sixth of ANSWER's events: the fifth, with id 3, has come.
const LATE_CUT = sse(rawEvents(ANSWER.slice(0, 5))).length + 5;
const EXPECTED = eventsIn([Buffer.from(rawEvents(ANSWER).join(""))]);
const UNTIL_LATE_CUT = EXPECTED.slice(0, 4);

/** [id, type, data] of each event; comments, which may be lost, are left out. */
function eventsIn(pieces) {
  const cutter = new EventCutter();
  const events = [...cutter.feed(Buffer.concat(pieces)), ...cutter.end().events];
  return events.filter((event) => event.id || event.data).map(({ id, type, data }) => [id, type, data]);
}

function isWhole(piece) {
  const cutter = new EventCutter();
  cutter.feed(piece);
  return cutter.end().rest.length === 0;
}

/** One request: the response, its bytes as the caller gets them, and the error that ended them. */
async function post(server, options = {}, init = {}) {
  const body = JSON.stringify({ model: "m", messages: [], stream: true });
  const response = await reattachFetch({ limitMs: 5000, ...options })(server.url + "/chat/completions", {
    method: "POST", headers: { "Content-Type": JSON_KIND }, body, ...init,
  });
  const pieces = [];
  try {
    for await (const piece of response.body) pieces.push(piece);
  } catch (error) {
    return { response, pieces, error };
  }
  return { response, pieces };
}

/** Runs `use` with a server of that script (a function or an AnswerScript). */
async function withServer(script, use) {
  const server = await new ScriptedServer(script.reply ? (request) => script.reply(request) : script).listen();
  try {
    return await use(server);
  } finally {
    server.close();
  }
}

/** A script: the answer breaks late, then come `replies`, one a connection, then the rest. */
function lateBreak(...replies) {
  const script = new AnswerScript({ cuts: [LATE_CUT], isReset: true });
  return (request) => (replies.length > 0 && request.method === "GET" ? replies.shift() : script.reply(request));
}

// --- every cut ---------------------------------------------------------------------------------

for (const lineEnd of ["\n", "\r\n"])
  for (const isReset of [false, true])
    for (const headers of [[], RESUMABLE])
      test(`each event once at every cut: ${JSON.stringify({ lineEnd, isReset, headers })}`, async () => {
        const length = sse(rawEvents(ANSWER, lineEnd), headers).length;
        for (let cut = 0; cut < length; cut += 1) {
          const script = new AnswerScript({ cuts: [cut], isReset, lineEnd, headers });
          await withServer(script, async (server) => {
            const { pieces, error } = await post(server);
            assert.equal(error, undefined, `cut at ${cut}`);
            assert.deepEqual(eventsIn(pieces), EXPECTED, `cut at ${cut}`);
            assert.ok(pieces.every(isWhole), `cut at ${cut}`);
            assert.ok(script.keys.size === 1 && server.requests.length <= 2, `cut at ${cut}`);
          });
        }
      });

test("each event once when every connection breaks", async () => {
  const length = sse(rawEvents(ANSWER)).length;
  for (let cut = 260; cut < length; cut += 1) { // behind the head and the largest event, so that each brings one
    const script = new AnswerScript({ cuts: Array(50).fill(cut), isReset: cut % 2 === 0 });
    await withServer(script, async (server) => {
      const { pieces, error } = await post(server);
      assert.equal(error, undefined, `cut at ${cut}`);
      assert.deepEqual(eventsIn(pieces), EXPECTED, `cut at ${cut}`);
      assert.equal(script.keys.size, 1);
    });
  }
});

test("the request for the rest says where and who", () =>
  withServer(lateBreak(), async (server) => {
    await post(server, {}, { headers: { Authorization: "Bearer sk-1", "X-Mine": "yes", "Content-Type": JSON_KIND } });
    const [, get] = server.requests;
    assert.deepEqual([get.method, get.path, get.headers["last-event-id"]], ["GET", `/v1/streams/${STREAM_ID}`, "3"]);
    assert.deepEqual([get.headers.authorization, get.headers["x-mine"]], ["Bearer sk-1", "yes"]);
    assert.equal(get.headers.accept, "text/event-stream");
    assert.ok(!("idempotency-key" in get.headers) && !("content-type" in get.headers));
  }));

// --- a server that is away ---------------------------------------------------------------------

for (const [name, replies] of Object.entries({
  503: [RESTARTING, RESTARTING, RESTARTING],
  broken: [BROKEN, { ...BROKEN, isReset: true }, { data: Buffer.from("HTTP/1.1 2") }],
  mixed: [{ data: http(502, "text/html", "<html>") }, BROKEN, RESTARTING],
}))
  test(`a restarting server is asked until it answers: ${name}`, () =>
    withServer(lateBreak(...replies), async (server) => {
      const { pieces, error } = await post(server);
      assert.equal(error, undefined);
      assert.deepEqual(eventsIn(pieces), EXPECTED);
      assert.equal(server.requests.length, 2 + replies.length);
    }));

test("refused connections are tried until somebody listens", async () => {
  const second = new ScriptedServer((request) => new AnswerScript().reply(request));
  const leave = (request) => {
    first.stopListening();
    setTimeout(() => second.listen(first.port), 400);
    return new AnswerScript({ cuts: [LATE_CUT] }).reply(request);
  };
  const first = await new ScriptedServer(leave).listen();
  const { pieces, error } = await post(first);
  second.close();
  assert.equal(error, undefined);
  assert.deepEqual(eventsIn(pieces), EXPECTED);
  assert.deepEqual(second.requests.map((request) => request.method), ["GET"]);
});

test("a server that stays away gives the connection's own error", () =>
  withServer(lateBreak(...Array(100).fill(RESTARTING)), async (server) => {
    const start = performance.now();
    const { pieces, error } = await post(server, { limitMs: 600 });
    assert.ok(error instanceof TypeError);
    assert.deepEqual(eventsIn(pieces), UNTIL_LATE_CUT);
    const elapsed = performance.now() - start;
    assert.ok(elapsed > 200 && elapsed < 3000, `${elapsed} ms`);
    assert.ok(server.requests.length >= 4 && server.requests.length <= 12);
  }));

test("a stream that never goes on is given up", () =>
  withServer(new AnswerScript({ cuts: [LATE_CUT, ...Array(100).fill(130)] }), async (server) => {
    const { error } = await post(server, { limitMs: 600 });
    assert.ok(error instanceof TypeError);
    assert.ok(server.requests.length <= 12);
  }));

for (const status of [404, 410, 401, 400])
  test(`an answer that is gone gives the connection's own error at once: ${status}`, () =>
    withServer(lateBreak({ data: http(status, JSON_KIND, "{}") }), async (server) => {
      const { pieces, error } = await post(server);
      assert.ok(error instanceof TypeError);
      assert.equal(server.requests.length, 2);
      assert.deepEqual(eventsIn(pieces), UNTIL_LATE_CUT);
    }));

test("a page of a proxy is not an answer", () =>
  withServer(lateBreak({ data: http(200, "text/html", "<html>") }), async (server) => {
    assert.ok((await post(server)).error instanceof TypeError);
    assert.equal(server.requests.length, 2);
  }));

test("a silent stream is taken for broken", () => {
  const script = new AnswerScript();
  const stuck = { data: sse(rawEvents(ANSWER)), cut: LATE_CUT };
  let isFirst = true;
  const reply = (request) => {
    if (!isFirst) return script.reply(request);
    isFirst = false;
    return { ...stuck, isHeld: true };
  };
  return withServer(reply, async (server) => {
    const { pieces, error } = await post(server, { silenceMs: 200 });
    assert.equal(error, undefined);
    assert.deepEqual(eventsIn(pieces), EXPECTED);
  });
});

// --- streams that end otherwise ----------------------------------------------------------------

for (const [name, headers, first] of [
  ["header", ["Deepwell-Resumable: false"], 'data: {"id":"chatcmpl-a1"}\nid: 0\n\n'],
  ["chunk", [], 'data: {"id":"chatcmpl-a1","resumable":false}\nid: 0\n\n'],
])
  test(`a stream that is not resumable is left alone: ${name}`, () => {
    const data = sse([first, "data: {}\nid: 1\n\n"], headers);
    return withServer(() => ({ data, cut: data.length - 5 }), async (server) => {
      const { pieces, error } = await post(server);
      assert.ok(error instanceof TypeError);
      assert.equal(eventsIn(pieces).length, 2);
      assert.equal(server.requests.length, 1);
    });
  });

test("an error event ends the answer", () => {
  const errorEvent = 'event: error\ndata: {"error":{"message":"no"}}\n\n';
  const data = sse(['data: {"id":"chatcmpl-a1"}\nid: 0\n\n', errorEvent]);
  return withServer(() => ({ data, cut: data.length - 5, isReset: true }), async (server) => {
    const { pieces, error } = await post(server);
    assert.equal(error, undefined);
    assert.ok(Buffer.concat(pieces).toString().endsWith(errorEvent));
    assert.equal(server.requests.length, 1);
  });
});

const SHUTTING_DOWN = 'event: error\ndata: {"error":{"message":"bye","resumable":true}}\n\n';
const BEGUN = { data: sse(['data: {"id":"chatcmpl-a1","choices":[]}\nid: 0\n\n', SHUTTING_DOWN]) };

test("the error of a server that shuts down is a break", () =>
  withServer((request) => (request.method === "POST" ? BEGUN : new AnswerScript().reply(request)), async (server) => {
    const { pieces, error } = await post(server);
    assert.equal(error, undefined);
    assert.deepEqual(eventsIn(pieces), EXPECTED);
  }));

test("the error of a server that shut down for good is shown", () =>
  withServer((request) => (request.method === "POST" ? BEGUN : GONE), async (server) => {
    const { pieces, error } = await post(server);
    assert.equal(error, undefined);
    assert.ok(Buffer.concat(pieces).toString().endsWith(SHUTTING_DOWN));
  }));

test("the stream of another server goes through as it is", () => {
  const text = 'data: {"id":"chatcmpl-zz"}\n\ndata: {}\n\ndata: half';
  const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
  return withServer(() => ({ data: Buffer.from(head + text) }), async (server) => {
    const { pieces, error } = await post(server);
    assert.equal(error, undefined);
    assert.equal(Buffer.concat(pieces).toString(), text);
    assert.equal(server.requests.length, 1);
  });
});

// --- requests that fail without an answer ------------------------------------------------------

const WHOLE = http(200, JSON_KIND, '{"id":"chatcmpl-a1","choices":[]}');

test("a whole answer is asked for again at every cut", async () => {
  for (let cut = 0; cut < WHOLE.length; cut += 1) {
    const replies = [{ data: WHOLE, cut, isReset: cut % 2 === 0 }, RESTARTING, { data: WHOLE }];
    await withServer(() => replies.shift(), async (server) => {
      const { response, pieces } = await post(server);
      assert.equal(response.status, 200);
      assert.equal(JSON.parse(Buffer.concat(pieces).toString()).id, "chatcmpl-a1");
      assert.equal(server.requests.length, 3, `cut at ${cut}`);
      assert.equal(new Set(server.requests.map((request) => request.headers["idempotency-key"])).size, 1);
      assert.equal(new Set(server.requests.map((request) => request.body)).size, 1);
    });
  }
});

test("a given key is kept and others differ", () =>
  withServer(() => ({ data: WHOLE }), async (server) => {
    await post(server, {}, { headers: { "Idempotency-Key": "mine" } });
    await post(server);
    await post(server);
    const keys = server.requests.map((request) => request.headers["idempotency-key"]);
    assert.equal(keys[0], "mine");
    assert.equal(new Set(keys).size, 3);
  }));

for (const status of [400, 429, 500, 503])
  test(`the first refusal is the caller's: ${status}`, () =>
    withServer(() => ({ data: http(status, JSON_KIND, '{"error":{}}') }), async (server) => {
      const { response, pieces } = await post(server);
      assert.equal(response.status, status);
      assert.equal(Buffer.concat(pieces).toString(), '{"error":{}}');
      assert.equal(server.requests.length, 1);
    }));

const refused = (status, code) => ({ data: http(status, JSON_KIND, JSON.stringify({ error: { code } })) });

for (const [status, code] of [[503, "model_loading"], [503, "shutting_down"], [409, "answer_elsewhere"]])
  test(`a server that comes or goes is asked again soon: ${code}`, () => {
    const replies = Array(3).fill(refused(status, code));
    const script = new AnswerScript();
    return withServer((request) => replies.shift() ?? script.reply(request), async (server) => {
      assert.deepEqual(eventsIn((await post(server)).pieces), EXPECTED);
      assert.equal(server.requests.length, 4);
    });
  });

test("a server that loads for long gives its own refusal", () =>
  withServer(() => refused(503, "model_loading"), async (server) => {
    const { response, pieces } = await post(server, { limitMs: 300 });
    assert.equal(response.status, 503);
    assert.match(Buffer.concat(pieces).toString(), /model_loading/);
  }));

test("a server that has too much to do is left in peace", () =>
  withServer(() => refused(503, "queue_full"), async (server) => {
    assert.equal((await post(server)).response.status, 503);
    assert.equal(server.requests.length, 1);
  }));

test("a server that never answers gives the first error", () =>
  withServer(() => ({ ...BROKEN, isReset: true }), async (server) => {
    await assert.rejects(post(server, { limitMs: 300 }), TypeError);
    assert.ok(server.requests.length >= 3);
  }));

test("an aborted request is not sent again, nor one that waits for a restart", () =>
  withServer(lateBreak(...Array(100).fill(RESTARTING)), async (server) => {
    const { error } = await post(server, {}, { signal: AbortSignal.timeout(300) });
    assert.equal(error.name, "TimeoutError");
    const nRequests = server.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal(server.requests.length, nRequests);
  }));

test("a cancelled body ends its connection, even in the middle of a read", () => {
  const held = { data: sse(rawEvents(ANSWER)), cut: LATE_CUT, isHeld: true };
  return withServer(() => held, async (server) => {
    const response = await reattachFetch()(server.url + "/chat/completions", { method: "POST", body: "{}" });
    const reader = response.body.getReader();
    while ((await Promise.race([reader.read(), new Promise((resolve) => setTimeout(resolve, 200))])) !== undefined);
    await reader.cancel();
    assert.equal(server.requests.length, 1);
    assert.equal(await server.nOpen(), 0);
  });
});

test("a Request object is as good as an address", () =>
  withServer(lateBreak(), async (server) => {
    const init = { method: "POST", body: '{"stream":true}', headers: { "X-Mine": "yes" } };
    const response = await reattachFetch()(new Request(server.url + "/chat/completions", init));
    assert.deepEqual(eventsIn([Buffer.from(await response.arrayBuffer())]), EXPECTED);
    assert.equal(response.url, server.url + "/chat/completions");
    assert.deepEqual(server.requests.map((request) => request.headers["x-mine"]), ["yes", "yes"]);
    assert.equal(server.requests[0].body, '{"stream":true}');
  }));

test("other requests are not touched", () =>
  withServer(() => BROKEN, async (server) => {
    await assert.rejects(reattachFetch()(server.url + "/models"));
    await assert.rejects(reattachFetch()(server.url + "/embeddings", { method: "POST", body: "{}" }));
    assert.equal(server.requests.length, 2);
    assert.ok(server.requests.every((request) => !("idempotency-key" in request.headers)));
  }));
