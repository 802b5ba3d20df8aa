"""Clients and image classifiers that need no server: what they send is answered in this process.

They are the real ones (checks of inputs and pictures, batches, fallbacks, router, observers); only
gRPC's connection is replaced. So what is scripted comes back exactly as a server's answer would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from tfs_client import contract
from tfs_client.call.connection import DEFAULT_TIMEOUT_S
from tfs_client.call.observer import Observer
from tfs_client.images.asking import BATCH_SIZE, Classifier
from tfs_client.images.classifier import AsyncImageClassifier, ImageClassifier
from tfs_client.images.pictures import Guards
from tfs_client.servable import Servable
from tfs_client.testing.answering import Fake
from tfs_client.testing.in_process import AsyncInProcess, InProcess
from tfs_client.testing.served.fake_model import FakeModel
from tfs_client.testing.served.image_model import ImageModel

if TYPE_CHECKING:
    from tfs_client.routing.router import Router
    from tfs_client.shadow.shadow import Shadow


class FakeClient(Fake, InProcess):
    """A Client that needs no server, for code that is given one.

    Nothing is sent again and no circuit opens, so that each scripted failure reaches the caller;
    give retry=Retry() and breaker=Breaker() for what the real client does.

    Args:
        models: what can be asked; none means ImageModel().
        settings: Client's further arguments, such as timeout_s, retry and observers.
    """

    def __init__(self, *models: FakeModel, **settings: Any):
        Fake.__init__(self, models)
        InProcess.__init__(self, self, **settings)

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._end_of_block(error)

    def close(self) -> None:
        """Ends it for good. May be called twice."""
        super().close()
        self._book.closed = True


class AsyncFakeClient(Fake, AsyncInProcess):
    """An AsyncClient that needs no server; its arguments are FakeClient's."""

    def __init__(self, *models: FakeModel, **settings: Any):
        Fake.__init__(self, models)
        AsyncInProcess.__init__(self, self, **settings)

    async def __aenter__(self) -> AsyncFakeClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
        self._end_of_block(error)

    async def close(self) -> None:
        """Ends it for good. May be called twice."""
        await super().close()
        self._book.closed = True


class _FakeClassifier(Fake, Classifier):
    """What the two fake classifiers have in common.

    Args:
        models: what can be asked; none means ImageModel() with the labels and versions that are
            asked here.
        label: the version label that is asked; None means "stable", unless a version is given.
        version: asked in place of a label.
        model: the servable's name.
        timeout_s: deadline of each request in seconds.
        batch_size: most images in one request.
        fallback: whom to ask where the one before cannot answer.
        default: whether to answer where nobody does.
        router: chooses the label by the `key` of a call.
        guards: what is checked before a picture is sent.
        shadow: asks another version the same afterwards.
        classes: the class names that may be answered; None takes every name.
        observers: are told of every call.

    Raises:
        ScriptError: models that are none.
        RequestError: as of ImageClassifier.
    """

    _open: ClassVar[type[InProcess] | type[AsyncInProcess]]

    def __init__(
        self,
        *models: FakeModel,
        label: str | None = None,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        batch_size: int = BATCH_SIZE,
        fallback: Sequence[Servable] = (),
        default: bool = False,
        router: Router | None = None,
        guards: Guards = Guards(),  # noqa: B008  # frozen
        shadow: Shadow | None = None,
        classes: Iterable[str] | None = None,
        observers: Sequence[Observer] = (),
    ):
        Fake.__init__(self, models or [_asked_model(model, label, version, fallback)])
        self._client = self._open(self, timeout_s=timeout_s, observers=observers)
        Classifier.__init__(
            self,
            self._client,
            label=label,
            version=version,
            model=model,
            batch_size=batch_size,
            fallback=fallback,
            default=default,
            router=router,
            guards=guards,
            shadow=shadow,
            classes=classes,
        )


class FakeClassifier(_FakeClassifier, ImageClassifier):
    """An ImageClassifier that needs no server.

        with FakeClassifier() as classifier:
            classifier.answers(label="defective", probability=0.9)
            assert classifier.predict(example_picture()).label == "defective"

    It checks pictures as the real one, and asks fallbacks, routers and shadows as the real one; a
    call is never sent twice, so that each scripted failure counts. Several threads may use one.
    """

    _open = InProcess
    _client: InProcess

    def __enter__(self) -> FakeClassifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._end_of_block(error)

    def close(self) -> None:
        """Ends it for good. May be called twice."""
        self._client.close()
        self._book.closed = True


class AsyncFakeClassifier(_FakeClassifier, AsyncImageClassifier):
    """An AsyncImageClassifier that needs no server; its arguments are FakeClassifier's.

    It belongs to the event loop of its first call, as an AsyncClient does.
    """

    _open = AsyncInProcess
    _client: AsyncInProcess

    async def __aenter__(self) -> AsyncFakeClassifier:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
        self._end_of_block(error)

    async def close(self) -> None:
        """Ends it for good. May be called twice."""
        await self._client.close()
        self._book.closed = True


def _asked_model(
    name: str, label: str | None, version: int | None, fallback: Iterable[Servable]
) -> ImageModel:
    """A model with the versions and labels that a classifier asks for."""
    asked = [one for one in fallback if isinstance(one, Servable) and one.model == name]
    labels = {contract.LABEL_STABLE, contract.LABEL_CANARY, label, *(one.label for one in asked)}
    versions = {1, version, *(one.version for one in asked)} - {None}
    numbers = sorted(one for one in versions if isinstance(one, int))
    return ImageModel(
        name,
        versions=numbers,
        labels=dict.fromkeys(sorted(filter(None, labels)), numbers[0]),
    )
