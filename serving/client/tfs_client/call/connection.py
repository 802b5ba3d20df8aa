"""What Client and AsyncClient have in common: the settings of a connection, checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc

from tfs_client import contract
from tfs_client.call import channel as channels
from tfs_client.call.about import Settings
from tfs_client.call.arguments import checked_timeout
from tfs_client.call.core import Core
from tfs_client.call.observer import Observer
from tfs_client.call.sender import Sender
from tfs_client.errors import RequestError, TargetError
from tfs_client.failures.policy import Breaker, Retry

DEFAULT_TARGET: Final = f"localhost:{contract.GRPC_PORT}"
DEFAULT_TIMEOUT_S: Final = 10.0


class Connection:
    """A connection to one model server, or to all addresses behind one name.

    Opening it sends nothing: the connection is made with the first call, and again after a
    server's restart. Close it, or use it in a `with` block.

    Args:
        target: host:port of the server's gRPC port, or gRPC's name syntax: with dns:///host:port
            all addresses of the name share the load.
        timeout_s: deadline of every call in seconds, retries included, unless the call says
            otherwise.
        tls: True for TLS with the authorities that gRPC comes with; Tls(…), or gRPC's own
            credentials, for others; False for plain text, as TensorFlow Serving has it by default.
        token: sent as "authorization: Bearer …" with every call; a function is asked each time, in
            a thread of its own and within the call's deadline. Needs tls, unless the target is on
            this machine.
        metadata: further pairs, sent with every call. Credentials ("authorization", "cookie") need
            tls as a token does.
        retry: how failed calls are sent again; None means never.
        breaker: when nothing is sent for a moment to a servable that keeps failing; None means
            never.
        hedge_after_s: send a call a second time if it was not answered after so many seconds, and
            take the first answer; None means never. It costs the server up to a tenth more calls
            (retry.budget_ratio), and helps where a few answers are slow by chance.
        wait_for_ready: wait for a server that is not there (yet) as long as the deadline allows.
        check_inputs: check inputs against the version's signature before they are sent; the server
            is asked for it once, and again when another version answers.
        max_message_bytes: limit of one request or answer.
        keepalive_s: how often a connection is pinged while calls are under way; None means never. A
            server with gRPC's defaults closes a connection that is pinged more often than every
            300 s.
        renew_s: how often the target's name is looked up again, in seconds, so that addresses that
            appear behind it later get calls too; None means only after a connection was lost, which
            is enough for servers that end connections by themselves (grpc.max_connection_age_ms).
        observers: are told of every call: observers.prometheus, observers.opentelemetry, or your
            own.
        options: further gRPC channel arguments, as (name, value) pairs; they win over ours.

    Attributes:
        target: as given.
        timeout_s: as given.
        core: the logic; not for callers.

    Raises:
        RequestError: an argument that is not allowed; its message names it.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: bool | channels.Tls | grpc.ChannelCredentials = False,
        token: str | Callable[[], str] | None = None,
        metadata: Sequence[tuple[str, str | bytes]] | Mapping[str, str | bytes] = (),
        retry: Retry | None = Retry(),  # noqa: B008  # frozen
        breaker: Breaker | None = Breaker(),  # noqa: B008  # frozen
        hedge_after_s: float | None = None,
        wait_for_ready: bool = False,
        check_inputs: bool = True,
        max_message_bytes: int = channels.MAX_MESSAGE_BYTES,
        keepalive_s: float | None = channels.KEEPALIVE_S,
        renew_s: float | None = None,
        observers: Sequence[Observer] = (),
        options: Sequence[channels.ChannelOption] = (),
    ):
        self.target = channels.check_target(target)
        self.timeout_s = checked_timeout(timeout_s)
        if not isinstance(max_message_bytes, int) or not 0 < max_message_bytes < 2**31:
            raise TargetError(
                "Expected max_message_bytes between 1 and 2147483647. "
                f"Received: max_message_bytes={max_message_bytes!r}"
            )
        self._credentials = _credentials(tls)
        self._plain_text = self._credentials is None and not channels.is_this_machine(target)
        self._renew_s = _seconds("renew_s", renew_s)
        self._arguments = channels.channel_arguments(
            self.target,
            max_message_bytes=max_message_bytes,
            keepalive_s=_seconds("keepalive_s", keepalive_s),
            server_name=tls.server_name if isinstance(tls, channels.Tls) else None,
            options=options,
        )
        _check_kind("retry", retry, Retry)
        _check_kind("breaker", breaker, Breaker)
        if not isinstance(observers, Iterable):
            raise RequestError(f"Expected observers as a list. Received: observers={observers!r}")
        for observer in observers:
            _check_kind("an observer", observer, Observer)
        pairs = channels.checked_metadata(metadata)
        if self._plain_text:
            channels.check_no_secrets(pairs, self.target)
        if token is not None:
            self._check_token(token)
        if isinstance(token, str):
            pairs, token = (*pairs, ("authorization", f"Bearer {token}")), None
        settings = Settings(
            target=self.target,
            timeout_s=self.timeout_s,
            retry=Retry(attempts=1) if retry is None else retry,
            breaker=breaker,
            hedge_after_s=_seconds("hedge_after_s", hedge_after_s),
            wait_for_ready=wait_for_ready,
            metadata=pairs,
            token=token,
            plain_text=self._plain_text,
            observers=tuple(observers),
        )
        sender = Sender(settings, self._stub)
        self.core = Core(sender, max_message_bytes=max_message_bytes, check=check_inputs)
        self._open()

    @property
    def fallback_counts(self) -> dict[str, int]:
        """Servable that answered, or "default" → calls; of those with a fallback or a router."""
        return dict(self.core.fallbacks.counts)

    def _open(self) -> None:
        """Makes the channel, where that needs no event loop."""

    def _stub(self, method: str) -> Any:
        raise NotImplementedError  # Client and AsyncClient implement it

    def _check_token(self, token: object) -> None:
        if self._plain_text:
            raise TargetError(
                "Expected tls with a token: in plain text everybody on the way can read it. "
                f"Received: token for {self.target} without tls; give tls=True or tls=Tls(…)"
            )
        if isinstance(token, str) and token:
            channels.checked_metadata([("authorization", token)])
        elif not callable(token):
            raise TargetError(
                "Expected token as a text, or a function that gives one. "
                f"Received: {'an empty text' if token == '' else type(token).__name__}"
            )


def _credentials(
    tls: bool | channels.Tls | grpc.ChannelCredentials,
) -> grpc.ChannelCredentials | None:
    if isinstance(tls, bool):
        return channels.Tls().credentials() if tls else None
    if isinstance(tls, channels.Tls):
        return tls.credentials()
    if isinstance(tls, grpc.ChannelCredentials):
        return tls
    raise TargetError(
        f"Expected tls as True, False, Tls(…) or gRPC's credentials. Received: tls={tls!r}"
    )


def _seconds(name: str, seconds: float | None) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        with contextlib.suppress(OverflowError):  # an int that no float holds
            return float(seconds)
    raise RequestError(
        f"Expected {name} as a number of seconds above 0, or None. Received: {name}={seconds!r:.40}"
    )


def _check_kind(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise RequestError(
            f"Expected {name} as a {kind.__name__}. Received: {type(value).__name__}"
        )
