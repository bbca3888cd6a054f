// The official OpenAI client for Node against the server at DEEPWELL_URL.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";

const baseURL = process.env.DEEPWELL_URL + "/v1";
const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Say hello." }];

test("an answer comes whole", async () => {
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 8 });
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.ok(answer.usage.completion_tokens <= 8);
});

test("a stream says the same", async () => {
  const fields = { model, messages, max_tokens: 8, seed: 3, temperature: 0 };
  const whole = await client.chat.completions.create(fields);
  const stream = await client.chat.completions.create({ ...fields, stream: true, stream_options: { include_usage: true } });
  let text = "", finish = null, usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(finish, whole.choices[0].finish_reason);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("errors have the types of the client", async () => {
  await assert.rejects(client.chat.completions.create({ model: "gpt-9", messages }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
});

test("an aborted stream ends, and the server answers on", async () => {
  const stream = await client.chat.completions.create({ model, messages, max_tokens: 1000, stream: true, ignore_eos: true });
  let n_chunks = 0;
  for await (const _ of stream) {
    if (++n_chunks === 4) stream.controller.abort();
  }
  assert.ok(n_chunks >= 4);
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 2 });
  assert.ok(answer.choices.length === 1);
});

test("a wrong key is an AuthenticationError", { skip: !process.env.DEEPWELL_KEYED_URL }, async () => {
  const stranger = new OpenAI({ baseURL: process.env.DEEPWELL_KEYED_URL + "/v1", apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});
