"""Configurations and labels without a process: what is refused, what waits, what moves when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import pytest

from serving.local.core import CoreOptions, ModelSpec, ServerCore
from serving.local.errors import ServingError, invalid_argument
from serving.local.signature import Signature
from serving.local.versions.states import LoadOptions, State
from serving.models_config import Latest, Model, ModelsConfig, Policy, Specific
from tests.integration.local_server_fixtures import eventually


class Loaded:
    """A version that can do nothing but be closed."""

    signatures: dict[str, Signature] = {}  # noqa: RUF012 never written to

    def run(self, *_: object) -> dict[str, object]:
        return {}

    def close(self) -> None:
        pass


Cores = Callable[..., ServerCore]


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Cores]:
    """Makes cores over a store with m/1, m/2, other/1 and broken/1, which cannot be loaded."""
    for version in ("m/1", "m/2", "other/1", "broken/1"):
        (tmp_path / version).mkdir(parents=True)

    def load(name: str, version: int, path: Path) -> Loaded:
        if name == "broken":
            raise invalid_argument("it is broken")
        return Loaded()

    made: list[ServerCore] = []

    def make(
        labels_for_unavailable_versions: bool = False, poll_wait_s: float = 0.02
    ) -> ServerCore:
        options = CoreOptions(
            folder_poll_wait_s=poll_wait_s,
            prefix_map=("/models", str(tmp_path)),
            labels_for_unavailable_versions=labels_for_unavailable_versions,
            load=LoadOptions(max_retries=0),
        )
        made.append(ServerCore(load, options))
        return made[-1]

    yield make
    for server in made:
        server.close()


def m(
    versions: tuple[int, ...] = (1, 2),
    platform: str = "tensorflow",
    name: str = "m",
    base_path: str = "/models/m",
    **labels: int,
) -> Model:
    policy = Specific(versions)
    return Model(name=name, base_path=base_path, platform=platform, policy=policy, labels=labels)


def other(name: str = "other", policy: Policy = Latest()) -> Model:  # noqa: B008 frozen
    return Model(name=name, base_path=f"/models/{name}", policy=policy)


def config(*models: Model) -> ModelsConfig:
    return ModelsConfig(models=models)


def started(server: ServerCore, *models: Model) -> ServerCore:
    server.start(config(*models))
    assert server.wait_until_available(timeout_s=10)
    for version in models[0].policy.versions if isinstance(models[0].policy, Specific) else ():
        await_state(server, version, State.AVAILABLE)
    return server


def await_state(server: ServerCore, version: int, state: State, name: str = "m") -> None:
    def reached() -> bool:
        try:
            return server.statuses(ModelSpec(name, version))[0].state is state
        except ServingError:
            return False

    eventually(reached, f"{name} version {version} is {state.name}")


def latest(server: ServerCore, name: str = "m") -> int:
    """The version that answers a request without version and label."""
    with server.handle(ModelSpec(name)) as handle:
        return handle.version


def labelled(server: ServerCore, label: str) -> int:
    """The version that answers for a label."""
    with server.handle(ModelSpec("m", label=label)) as handle:
        return handle.version


def test_labels_at_start_need_the_flag_for_them(core: Cores) -> None:
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: Request to assign label to"):
        core().start(config(m((1,), stable=1)))

    lenient = started(core(labels_for_unavailable_versions=True), m((1,), stable=1))
    assert labelled(lenient, "stable") == 1


def test_a_new_label_may_come_with_its_version_under_the_flag(core: Cores, tmp_path: Path) -> None:
    server = started(core(labels_for_unavailable_versions=True), m((1,), stable=1))
    (tmp_path / "m" / "3").mkdir()

    server.reload(config(m((1, 3), stable=1, canary=3)))

    eventually(lambda: 3 in {row.version for row in server.statuses(ModelSpec("m"))}, "3 is known")
    await_state(server, 3, State.AVAILABLE)
    assert labelled(server, "canary") == 3


def test_a_label_may_not_move_to_a_version_that_is_not_loaded_even_under_the_flag(
    core: Cores,
) -> None:
    server = started(core(labels_for_unavailable_versions=True), m((1,), stable=1))

    with pytest.raises(ServingError) as refused:
        server.reload(config(m((1, 2), stable=2)))

    assert refused.value.text == (
        "Request to assign label to version 2 of model m, which is not currently available for "
        "inference"
    )
    assert labelled(server, "stable") == 1
    assert [row.version for row in server.statuses(ModelSpec("m"))] == [1]


@pytest.mark.parametrize("rounds", [5, pytest.param(30, marks=pytest.mark.thorough)])
def test_a_label_can_leave_a_version_that_the_same_change_drops(core: Cores, rounds: int) -> None:
    server = started(core(), m())
    server.reload(config(m(stable=1, canary=2)))
    stop = threading.Event()
    faults: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                labelled(server, "stable")
            except ServingError as error:  # noqa: PERF203 each request counts
                faults.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()
    for _ in range(rounds):
        for kept, dropped in ((2, 1), (1, 2)):
            server.reload(config(m((kept,), stable=kept)))
            await_state(server, dropped, State.END)
            server.reload(config(m((1, 2), stable=kept)))
            await_state(server, dropped, State.AVAILABLE)
    stop.set()
    asker.join()
    assert faults == []


def test_a_label_that_moves_while_a_request_reads_it_is_read_again(
    core: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started(core(), m())
    server.reload(config(m(stable=1)))
    find = server._versions.handle

    def find_late(name: str, version: int | None = None) -> object:
        """As if the change happened between reading the label and taking hold of the version."""
        monkeypatch.undo()
        server.reload(config(m((2,), stable=2)))
        await_state(server, 1, State.END)
        return find(name, version)

    monkeypatch.setattr(server._versions, "handle", find_late)

    assert labelled(server, "stable") == 2


def test_dropping_a_version_that_a_label_points_at_is_accepted_and_the_label_fails(
    core: Cores,
) -> None:
    server = started(core(), m())
    server.reload(config(m(stable=1, canary=2)))

    server.reload(config(m((1,), stable=1, canary=2)))

    await_state(server, 2, State.END)
    with pytest.raises(ServingError, match=r"NOT_FOUND: Servable not found for request: Specific"):
        labelled(server, "canary")
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: Request to assign label to"):
        server.reload(config(m(stable=1, canary=2)))


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ((m(), m()), "INVALID_ARGUMENT: Illegal to list model m multiple times in config list"),
        (
            (m(base_path="m"),),
            "INVALID_ARGUMENT: Expected model m to have an absolute path or URI; got base_path()=m",
        ),
        (
            (m(base_path="m", platform="nope"), m(stable=9)),
            "INVALID_ARGUMENT: Illegal to list model m multiple times in config list",
        ),
        (
            (m(platform="nope", stable=9),),
            "INVALID_ARGUMENT: Illegal to change a model's platform. For model m platform was "
            "tensorflow and new platform requested is nope",
        ),
        (
            (m(platform="", stable=9),),
            "INVALID_ARGUMENT: Illegal setting neither ModelServerConfig::model_type (deprecated) "
            "nor ModelServerConfig::model_platform, model name is m",
        ),
        (
            (m(), m(name="new", platform="nope", stable=1)),
            "FAILED_PRECONDITION: Request to assign label to version 1 of model new, which is not "
            "currently available for inference",
        ),
        (
            (m(), m(name="new", platform="nope")),
            "INVALID_ARGUMENT: Model new requests unsupported platform nope",
        ),
        (
            (m(), m(name="new", platform="")),
            "INVALID_ARGUMENT: Illegal setting neither ModelServerConfig::model_type (deprecated) "
            "nor ModelServerConfig::model_platform, model name is new",
        ),
    ],
)
def test_a_refused_configuration_changes_nothing_and_says_the_first_thing_wrong(
    core: Cores, models: tuple[Model, ...], text: str
) -> None:
    server = started(core(), m())
    server.reload(config(m(stable=1)))

    with pytest.raises(ServingError) as refused:
        server.reload(config(*models))

    assert str(refused.value) == text
    assert labelled(server, "stable") == 1
    assert {row.state for row in server.statuses(ModelSpec("m"))} == {State.AVAILABLE}
    server.reload(config(m(stable=2)))
    assert labelled(server, "stable") == 2


def test_an_empty_configuration_takes_no_action_until_a_list_comes(core: Cores) -> None:
    server = core()
    server.start(ModelsConfig(is_set=False))
    assert server.wait_until_available(timeout_s=1)
    with pytest.raises(ServingError, match=r"UNAVAILABLE: Model labels does not init yet.stable"):
        server.handle(ModelSpec("m", label="stable"))

    server.reload(config(m()))

    assert latest(server) in (1, 2)
    with pytest.raises(ServingError) as refused:
        server.reload(ModelsConfig(is_set=False))
    assert str(refused.value) == (
        "FAILED_PRECONDITION: Cannot transition to requested config. It is only legal to "
        "transition from one ModelConfigList to another."
    )


def test_an_empty_list_unloads_everything(core: Cores) -> None:
    server = started(core(), m(), other())

    server.reload(config())

    await_state(server, 1, State.END)
    await_state(server, 2, State.END)
    await_state(server, 1, State.END, "other")


def test_a_reload_returns_before_a_new_version_of_a_known_model_is_loaded(
    core: Cores, tmp_path: Path
) -> None:
    server = started(core(poll_wait_s=0), m((1,)))

    server.reload(config(m((2,))))  # without polling, version 2 would never come

    assert latest(server) == 1


def test_a_reload_waits_for_a_new_model(core: Cores) -> None:
    server = started(core(), m())

    server.reload(config(m(), other()))

    assert latest(server, "other") == 1


def test_a_reload_says_that_a_new_model_has_failed(core: Cores) -> None:
    server = started(core(), m((1,)))

    with pytest.raises(ServingError) as refused:
        server.reload(config(m(), other("broken"), other()))

    assert str(refused.value) == (
        "UNKNOWN: 1 model(s) did not become available: {{{name: broken version: 1} due to error: "
        "INVALID_ARGUMENT: it is broken}, }"
    )
    await_state(server, 2, State.AVAILABLE)


def test_a_model_that_was_removed_is_new_again(core: Cores) -> None:
    server = started(core(), m(), other())
    server.reload(config(m()))
    await_state(server, 1, State.END, "other")

    server.reload(config(m(), other()))

    assert latest(server, "other") == 1


def test_a_new_model_without_a_folder_holds_up_every_reload_but_no_request(
    core: Cores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = started(core(), m())
    with futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.reload, config(m(stable=1), other("late")))
        eventually(lambda: "a reload waits, and holds up others, for: late" in caplog.text, "a log")
        second = pool.submit(server.reload, config(m(stable=2)))
        with pytest.raises(futures.TimeoutError):
            second.result(timeout=0.3)
        assert labelled(server, "stable") == 1
        assert not first.done()

        (tmp_path / "late" / "1").mkdir(parents=True)

        first.result(timeout=10)
        second.result(timeout=10)
    assert labelled(server, "stable") == 2


def test_stopping_ends_a_reload_that_waits_and_those_behind_it(core: Cores) -> None:
    server = started(core(), m())
    with futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.reload, config(m(), other(f"late{n}"))) for n in range(2)]
        with pytest.raises(futures.TimeoutError):
            waiting[0].result(timeout=0.3)

        server.stop_reloads()

        for reload in waiting:
            with pytest.raises(ServingError, match="UNAVAILABLE"):
                reload.result(timeout=5)


def test_the_start_waits_for_a_version_folder_and_then_for_its_version(
    core: Cores, tmp_path: Path
) -> None:
    server = core()
    (tmp_path / "late").mkdir()
    server.start(config(other("late"), m()))
    assert not server.wait_until_available(timeout_s=0.3)

    (tmp_path / "late" / "1").mkdir()

    assert server.wait_until_available(timeout_s=10)


def test_the_start_fails_with_a_model_whose_versions_all_ended(core: Cores) -> None:
    server = core()
    server.start(config(other("broken"), m()))

    with pytest.raises(ServingError) as failed:
        server.wait_until_available(timeout_s=10)

    assert str(failed.value) == (
        "UNKNOWN: 1 servable(s) did not become available: {{{name: broken version: 1} due to "
        "error: INVALID_ARGUMENT: it is broken}, }"
    )


def test_the_status_of_no_name_is_that_of_an_unknown_model(core: Cores) -> None:
    server = started(core(), m())

    with pytest.raises(ServingError, match=r"NOT_FOUND: Could not find any versions of model $"):
        server.statuses(ModelSpec(""))
    with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: ModelSpec has no name specified."):
        server.handle(ModelSpec(""))
