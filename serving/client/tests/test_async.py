"""What only asyncio has: cancelling, many calls in one loop, and giving way to the loop."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from tfs_client import AsyncClient, AsyncImageClassifier, ClosedClientError, Retry


def slow(server, release: threading.Event, reached: threading.Event | None = None):
    honest = server.usual("Predict")

    def answer(request, context):
        if reached is not None:
            reached.set()
        release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = answer


async def ask(client, value: float = 1.0):
    return await client.predict({"x": [value]}, model="echo")


def test_a_hundred_calls_share_one_loop_and_each_gets_its_own_answer(server):
    async def body():
        async with AsyncClient(server.target) as client:
            answers = await asyncio.gather(*(ask(client, number) for number in range(100)))
        return [answer["x"].tolist() for answer in answers]

    assert asyncio.run(body()) == [[float(number)] for number in range(100)]


def test_a_cancelled_call_ends_at_once_and_the_client_goes_on(server):
    release, reached = threading.Event(), threading.Event()

    async def body():
        async with AsyncClient(server.target, hedge_after_s=0.05) as client:
            await client.metadata(model="echo")
            slow(server, release, reached)
            task = asyncio.ensure_future(ask(client))
            await asyncio.to_thread(reached.wait, 5)
            await asyncio.sleep(0.1)  # the hedge is under way too
            task.cancel()
            start = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            waited = time.monotonic() - start
            release.set()
            return waited, await ask(client)

    waited, answer = asyncio.run(body())
    assert waited < 1
    assert answer["x"].tolist() == [1.0]


def test_a_timeout_of_asyncios_own_is_a_cancellation(server):
    release = threading.Event()

    async def body():
        async with AsyncClient(server.target) as client:
            await client.metadata(model="echo")
            slow(server, release)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ask(client), 0.1)
            release.set()

    asyncio.run(body())


def test_cancelling_while_a_retry_waits_ends_it(server):
    import grpc

    server.handlers["Predict"] = lambda request, context: context.abort(
        grpc.StatusCode.UNAVAILABLE, "gone"
    )

    async def body():
        retry = Retry(attempts=9, backoff_s=30, max_backoff_s=30)
        async with AsyncClient(server.target, timeout_s=300, retry=retry) as client:
            task = asyncio.ensure_future(ask(client))
            while not server.asked("Predict"):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    start = time.monotonic()
    asyncio.run(body())
    assert time.monotonic() - start < 5


def test_closing_ends_the_calls_under_way(server):
    release, reached = threading.Event(), threading.Event()

    async def body():
        client = AsyncClient(server.target)
        await client.metadata(model="echo")
        slow(server, release, reached)
        task = asyncio.ensure_future(ask(client))
        await asyncio.to_thread(reached.wait, 5)
        await client.close()
        with pytest.raises(ClosedClientError):
            await task
        with pytest.raises(ClosedClientError):
            await ask(client)
        await client.close()

    asyncio.run(body())
    release.set()


def test_reading_and_resizing_leave_the_loop_free(server, as_file, tmp_path, monkeypatch):
    """The loop keeps turning while files are read: they are read in threads."""
    from tfs_client.images import pictures

    read = pictures.read_file

    def slowly(*args):
        time.sleep(0.3)
        return read(*args)

    monkeypatch.setattr(pictures, "read_file", slowly)
    path = tmp_path / "cell.png"
    path.write_bytes(as_file())

    async def body():
        longest = 0.0

        async def turn():
            nonlocal longest
            while True:
                start = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - start)

        async with AsyncClient(server.target) as client:
            classifier = AsyncImageClassifier(client)
            await classifier.predict(as_file())
            turning = asyncio.ensure_future(turn())
            answer = await classifier.predict(path)
            turning.cancel()
        return longest, answer

    longest, answer = asyncio.run(body())
    assert answer.valid
    assert longest < 0.25


def test_a_stream_takes_an_asynchronous_iterator_and_may_be_left_early(server):
    taken = []

    async def sources():
        for number in range(1000):
            taken.append(number)
            await asyncio.sleep(0)
            yield np.full((64, 64, 3), number % 256, np.uint8)

    async def body():
        async with AsyncClient(server.target) as client:
            stream = AsyncImageClassifier(client, batch_size=4).stream(sources(), concurrency=2)
            found = [await anext(stream) for _ in range(6)]
            await stream.aclose()
            return found

    assert len(asyncio.run(body())) == 6
    assert len(taken) <= 20
