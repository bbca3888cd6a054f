# Sixteen people at once: every stream ends whole, and none waits much longer than the others.
import asyncio
import statistics
import time

N_CLIENTS = 16
N_TOKENS = 48


def test_sixteen_streams_all_finish_and_none_starves(server, record_property):
    client, model = server.async_client(), server.model()

    async def one(seed):
        start, text, finish, first = time.monotonic(), "", None, None
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"Tell me about the number {seed}."}], max_tokens=N_TOKENS,
            seed=seed, stream=True, extra_body={"ignore_eos": True})
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.monotonic() - start
                text += chunk.choices[0].delta.content
            finish = (chunk.choices and chunk.choices[0].finish_reason) or finish
        return time.monotonic() - start, first, text, finish

    async def everyone():
        return await asyncio.gather(*(one(seed) for seed in range(N_CLIENTS)))

    results = asyncio.run(everyone())
    assert all(finish == "length" and text for _, _, text, finish in results)
    durations = [duration for duration, *_ in results]
    firsts = [first for _, first, *_ in results]
    ratio = max(durations) / statistics.median(durations)
    record_property("worst_over_median", f"{ratio:.2f}")
    print(f"\n16 streams: median {statistics.median(durations):.2f} s, worst/median {ratio:.2f}, "
          f"first token median {statistics.median(firsts):.2f} s, worst {max(firsts):.2f} s")
    assert ratio < 3
