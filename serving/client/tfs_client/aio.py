"""The client for asyncio: the methods of client.Client, awaited.

    async with AsyncClient("localhost:8500") as client:
        prediction = await client.predict({"x": array}, model="affine", label="stable")

It belongs to the event loop of its first call. What a call does is in call/core.py; here its steps
are awaited. Client documents the parameters, and a test compares the two signatures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import grpc

from tfs_client import contract
from tfs_client.answers import (
    Classification,
    Metadata,
    Prediction,
    Regression,
    VersionStatus,
)
from tfs_client.background.forks import Grpc
from tfs_client.call.connection import Connection
from tfs_client.call.renewal import Channels
from tfs_client.call.route import Key
from tfs_client.client import RELOAD_TIMEOUT_S
from tfs_client.errors import WrongLoopError
from tfs_client.servable import Servable, servable
from tfs_client.steps import Metadata as Pairs, walk_async

if TYPE_CHECKING:
    from tfs_client.routing.router import Router
    from tfs_client.shadow.shadow import Shadow


_CLOSING: Final[set[asyncio.Future[None]]] = set()
"""An event loop keeps no task alive by itself."""


class AsyncClient(Connection):
    """Asks from one event loop; its methods are Client's. Its arguments are Connection's."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As Client.close."""
        mirrored = self.core.close()
        for channel in self._channels.taken():
            await channel.close()
        await asyncio.gather(*mirrored, return_exceptions=True)

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return not self.core.sender.closed

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_DEFAULT,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        fallback: Sequence[Servable] = (),
        default: Mapping[str, Any] | None = None,
        router: Router | None = None,
        key: Key | None = None,
        request_id: str = "",
        metadata: Pairs = (),
        shadow: Shadow | None = None,
    ) -> Prediction:
        """As Client.predict."""
        return await walk_async(
            self.core.predict(
                inputs,
                servable(model, label, version),
                signature=signature,
                outputs=outputs,
                timeout_s=timeout_s,
                fallback=fallback,
                default=default,
                router=router,
                key=key,
                request_id=request_id,
                metadata=metadata,
                shadow=shadow,
            )
        )

    async def classify(
        self,
        examples: Iterable[Mapping[str, Any]],
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_CLASSIFY,
        timeout_s: float | None = None,
        metadata: Pairs = (),
    ) -> Classification:
        """As Client.classify."""
        asked = servable(model, label, version)
        return await walk_async(
            self.core.classify(
                examples, asked, signature=signature, timeout_s=timeout_s, metadata=metadata
            )
        )

    async def regress(
        self,
        examples: Iterable[Mapping[str, Any]],
        *,
        model: str,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_DEFAULT,
        timeout_s: float | None = None,
        metadata: Pairs = (),
    ) -> Regression:
        """As Client.regress."""
        asked = servable(model, label, version)
        return await walk_async(
            self.core.regress(
                examples, asked, signature=signature, timeout_s=timeout_s, metadata=metadata
            )
        )

    async def metadata(
        self,
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Metadata:
        """As Client.metadata."""
        asked = servable(model, label, version)
        return await walk_async(self.core.metadata(asked, timeout_s=timeout_s))

    async def status(
        self,
        *,
        model: str = contract.MODEL_NAME,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> tuple[VersionStatus, ...]:
        """As Client.status."""
        asked = servable(model, None, version)
        return await walk_async(self.core.status(asked, timeout_s=timeout_s))

    async def reload(self, config: str, *, timeout_s: float = RELOAD_TIMEOUT_S) -> None:
        """As Client.reload."""
        return await walk_async(self.core.reload(config, timeout_s=timeout_s))

    async def wait_ready(
        self,
        label: str | None = None,
        timeout_s: float = 60.0,
        *,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
    ) -> Metadata:
        """As Client.wait_ready."""
        asked = servable(model, label, version)
        return await walk_async(self.core.wait_ready(asked, timeout_s))

    def _check_loop(self) -> None:
        """Refuses another event loop than that of the first call.

        Raises:
            WrongLoopError: it is another one.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise WrongLoopError(
                "Expected an AsyncClient to be used in the event loop of its first call. "
                "Received: another loop; open one in each, or use Client from threads"
            )

    def _open(self) -> None:
        self.core.sender.check_loop = self._check_loop
        self._channels = Channels(self._channel, _end, self._renew_s)

    def _stub(self, method: str) -> Any:
        return self._channels.stub(method)

    def _channel(self) -> grpc.aio.Channel:
        self.core.sender.check_usable()
        Grpc.users.add(self)
        Grpc.used = True
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.target, options=self._arguments)
        return grpc.aio.secure_channel(self.target, self._credentials, options=self._arguments)


def _end(channel: grpc.aio.Channel) -> None:
    """Closes a channel that no call uses any more, in the running event loop."""
    closing = asyncio.ensure_future(channel.close())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)
