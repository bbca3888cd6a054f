// The official Node client with the fetch of clients/typescript, against a server whose front dies.
// DEEPWELL_URL is the server, DEEPWELL_PID its supervisor (test_clients.py sets them).
import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

import OpenAI from "openai";

import { reattachFetch } from "../../../clients/typescript/src/index.mjs";

const baseURL = process.env.DEEPWELL_URL + "/v1";
const plain = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0 });
const surviving = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0, fetch: reattachFetch() });
const question = { model: "synthetic", messages: [{ role: "user", content: "hi" }], max_tokens: 300, seed: 12 };
const streamed = { ...question, stream: true, stream_options: { include_usage: true } };

function frontPids() {
  return fs.readdirSync("/proc").filter((name) => {
    try {
      const parent = fs.readFileSync(`/proc/${name}/stat`, "utf8").split(")").at(-1).trim().split(" ")[1];
      return parent === process.env.DEEPWELL_PID && fs.readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0")[1] === "front";
    } catch {
      return false; // no process, or it has ended
    }
  });
}

async function sendFront(signal) {
  const deadline = Date.now() + 10_000;
  while (frontPids().length === 0) {
    assert.ok(Date.now() < deadline, "no front came back");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  for (const pid of frontPids()) process.kill(Number(pid), signal);
}

/** Content, finish reasons and usage; `signal` is sent to the front at each of these lengths of the content. */
async function gather(client, signal, marks = []) {
  const answer = { content: "", finishes: [], usage: undefined };
  const ids = new Set();
  const left = [...marks];
  for await (const chunk of await client.chat.completions.create(streamed)) {
    if (answer.content.length >= left[0]) {
      left.shift();
      await sendFront(signal);
    }
    ids.add(chunk.id);
    answer.usage = chunk.usage ?? answer.usage;
    answer.content += chunk.choices[0]?.delta.content ?? "";
    if (chunk.choices[0]?.finish_reason) answer.finishes.push(chunk.choices[0].finish_reason);
  }
  assert.equal(left.length, 0, "the answer was not disturbed as wanted");
  assert.equal(ids.size, 1, "another answer went on");
  return answer;
}

const expected = await gather(plain);

test("a stream outlives its front, killed three times", async () => {
  const answer = await gather(surviving, "SIGKILL", [20, 120, 220]);
  assert.equal(expected.content.length, 300);
  assert.deepEqual(answer, expected);
});

test("a stream outlives a front that hangs", async () => {
  assert.deepEqual(await gather(surviving, "SIGSTOP", [100]), expected);
});

test("a whole answer outlives its front", async () => {
  setTimeout(() => sendFront("SIGKILL"), 300);
  const answer = await surviving.chat.completions.create(question);
  assert.equal(answer.choices[0].message.content, expected.content);
  assert.deepEqual(answer.usage, expected.usage);
});
