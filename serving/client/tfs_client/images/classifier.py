"""The image classifier of the contract, asked from threads or from an event loop.

    classifier = ImageClassifier(client, label="stable")
    answer = classifier.predict("cell.png")
    for answer in classifier.stream(folder.rglob("*.png"), progress=bar.update):
        print(answer.source, answer.label, answer.probability)

Pillow is needed only for Pillow images, for arrays of another size than the version's, and to turn
pictures upright; it is imported only then.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfs_client.answers import ImagePrediction
from tfs_client.call.route import Key
from tfs_client.errors import RequestError
from tfs_client.images.asking import (
    BATCH_SIZE,
    CONCURRENCY,
    Classifier,
    OnBadImage,
    check_some,
)
from tfs_client.images.pixels import ImageSource, Pixels, describe, is_file
from tfs_client.steps import walk, walk_async

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["BATCH_SIZE", "AsyncImageClassifier", "ImageClassifier", "ImagePrediction"]

Progress = Callable[[int], Any]
"""Called with the number of images that are newly done: tqdm's update, say."""

Item = TypeVar("Item")


class ImageClassifier(Classifier):
    """Asks an image classifier that follows the contract, through a Client.

    Several threads may use one. Its arguments are Classifier's.
    """

    def predict(
        self, source: ImageSource, *, key: Key | None = None, request_id: str = ""
    ) -> ImagePrediction:
        """Asks about one image.

        Args:
            source: the path, the content or the open file of a JPEG, PNG, GIF (first frame) or BMP
                picture; or pixels: a uint8 array [H, W, 3], RGB, 0-255, or a Pillow image. EXIF
                orientation is ignored in all of them, as it was in training, unless the guards
                set it otherwise.
            key: for the router: what stays on one side of the experiment.
            request_id: carried in the answer, to the server and into the router's log.

        Raises:
            ImageError: the picture is broken, foreign or too large; nothing was sent.
            RequestError: the source is no kind of picture; nothing was sent.
            PillowMissingError: pixels have to be converted and Pillow is not installed.
            OSError: the file cannot be read.
            CallError: the call failed.
            AnswerError: the answer does not follow the contract.
        """
        return walk(self._classify([_one(source)], "raise", key, request_id))[0]

    def predict_many(
        self,
        sources: Iterable[ImageSource] | Pixels,
        *,
        on_bad_image: OnBadImage = "raise",
        key: Key | None = None,
        request_id: str = "",
    ) -> list[ImagePrediction]:
        """Asks about several images, in requests of batch_size, one after the other.

        Args:
            sources: any mix of what predict takes, or one uint8 array [N, H, W, 3].
            on_bad_image: "raise" the error of a picture that cannot be sent; or "mark" its answer
                as not valid, with the reason, and go on.
            key: as for predict, for all of them.
            request_id: as for predict; of several images, each gets it with its number.

        Returns:
            The answers, in the same order.

        Raises:
            EmptyBatchError: no images.
            RequestError: as for predict, as are the others. Earlier requests may have been sent;
                they change nothing.
        """
        return walk(self._classify(_several(sources), on_bad_image, key, request_id))

    def stream(
        self,
        sources: Iterable[ImageSource] | Pixels,
        *,
        on_bad_image: OnBadImage = "mark",
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        key: Key | None = None,
    ) -> Iterator[ImagePrediction]:
        """Asks about any number of images, several requests at a time.

        Sources are taken from the iterator only as fast as they are sent, at most
        batch_size * concurrency ahead. A stream that is left early waits for what it has sent.

        Args:
            sources: as for predict_many; they may be without end.
            on_bad_image: "mark" a picture that cannot be sent (answer.reason says why), or "raise".
            concurrency: requests at once.
            progress: called with the number of images that are newly done; tqdm's update, say.
            key: as for predict, for all of them.

        Yields:
            The answers, in the order of the sources.

        Raises:
            RequestError: as for predict_many, as are the others; raised in the image's turn.
        """
        chunks = _chunks(_iterable(sources), self._batch_size)
        _check_concurrency(concurrency)
        return self._stream(chunks, on_bad_image, concurrency, progress, key)

    def _stream(
        self,
        chunks: Iterator[list[ImageSource]],
        on_bad_image: OnBadImage,
        concurrency: int,
        progress: Progress | None,
        key: Key | None,
    ) -> Iterator[ImagePrediction]:
        from concurrent.futures import ThreadPoolExecutor  # here: its import takes its time

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="tfs-stream")
        under_way: collections.deque[Future[list[ImagePrediction]]] = collections.deque()
        try:
            while True:
                for chunk in itertools.islice(chunks, concurrency - len(under_way)):
                    # Tracing's context, say, goes along into the thread.
                    run = contextvars.copy_context().run
                    steps = self._classify(chunk, on_bad_image, key, "")
                    under_way.append(pool.submit(run, walk, steps))
                if not under_way:
                    return
                answers = under_way.popleft().result()
                if progress is not None:
                    progress(len(answers))
                yield from answers
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def input_size(self) -> tuple[int, int]:
        """The (height, width) in pixels that predict_images wants, read from the server now.

        Raises:
            CallError: the call failed.
            AnswerError: the version does not follow the contract.
        """
        return walk(self._input_size())


class AsyncImageClassifier(Classifier):
    """Asks through an AsyncClient, awaited; its arguments are Classifier's.

    Files are read, and pixels resized, in threads.
    """

    async def predict(
        self, source: ImageSource, *, key: Key | None = None, request_id: str = ""
    ) -> ImagePrediction:
        """As ImageClassifier.predict."""
        found = await walk_async(self._classify([_one(source)], "raise", key, request_id))
        return found[0]

    async def predict_many(
        self,
        sources: Iterable[ImageSource] | Pixels,
        *,
        on_bad_image: OnBadImage = "raise",
        key: Key | None = None,
        request_id: str = "",
    ) -> list[ImagePrediction]:
        """As ImageClassifier.predict_many."""
        return await walk_async(self._classify(_several(sources), on_bad_image, key, request_id))

    def stream(
        self,
        sources: Iterable[ImageSource] | AsyncIterable[ImageSource] | Pixels,
        *,
        on_bad_image: OnBadImage = "mark",
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        key: Key | None = None,
    ) -> AsyncIterator[ImagePrediction]:
        """As ImageClassifier.stream; the sources may come from an asynchronous iterator too."""
        if not isinstance(sources, AsyncIterable):
            sources = _iterable(sources)
        _check_concurrency(concurrency)
        chunks = _chunks_async(sources, self._batch_size)
        return self._stream(chunks, on_bad_image, concurrency, progress, key)

    async def _stream(
        self,
        chunks: AsyncIterator[list[ImageSource]],
        on_bad_image: OnBadImage,
        concurrency: int,
        progress: Progress | None,
        key: Key | None,
    ) -> AsyncIterator[ImagePrediction]:
        under_way: collections.deque[asyncio.Task[list[ImagePrediction]]] = collections.deque()
        exhausted = False
        try:
            while True:
                while not exhausted and len(under_way) < concurrency:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        exhausted = True
                        break
                    steps = self._classify(chunk, on_bad_image, key, "")
                    under_way.append(asyncio.ensure_future(walk_async(steps)))
                if not under_way:
                    return
                answers = await under_way.popleft()
                if progress is not None:
                    progress(len(answers))
                for answer in answers:
                    yield answer
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def input_size(self) -> tuple[int, int]:
        """As ImageClassifier.input_size."""
        return await walk_async(self._input_size())


def _one(source: ImageSource) -> ImageSource:
    if isinstance(source, (list, tuple)) or (isinstance(source, np.ndarray) and source.ndim == 4):
        raise RequestError(
            f"Expected one image. Received: {describe(source)}; use predict_many for several"
        )
    return source


def _several(sources: Iterable[ImageSource] | Pixels) -> list[ImageSource]:
    found = list(_iterable(sources))
    check_some(len(found))
    return found


def _iterable(sources: Iterable[ImageSource] | Pixels) -> Iterable[ImageSource]:
    if is_file(sources) or not isinstance(sources, Iterable):
        raise RequestError(
            f"Expected several images. Received: {describe(sources)}; use predict for one"
        )
    if isinstance(sources, np.ndarray) and sources.ndim != 4:
        raise RequestError(f"Expected pixels as uint8 [N, H, W, 3]. Received: {describe(sources)}")
    return sources


def _check_concurrency(concurrency: int) -> None:
    if not isinstance(concurrency, int) or concurrency < 1:
        raise RequestError(f"Expected concurrency above 0. Received: concurrency={concurrency!r}")


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


async def _chunks_async(
    sources: Iterable[ImageSource] | AsyncIterable[ImageSource], size: int
) -> AsyncIterator[list[ImageSource]]:
    if not isinstance(sources, AsyncIterable):
        for chunk in _chunks(sources, size):
            yield chunk
        return
    chunk = []
    async for source in sources:
        chunk.append(source)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
