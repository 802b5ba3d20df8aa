"""models.config as a pod's shell reads it, beside the rollout's and the local server's reader."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from serving import models_config
from serving.models_config import All, Latest, Model, ModelsConfig, Policy, Specific
from tests.environments import ROOT
from tests.unit.deployment import pod_tools

LABELS = ("stable", "canary", "sta ble", "Stable", "stäble")

versions = st.integers(-(2**40), 2**40)
# Decimals are text to the reader in awk, so that none is too large for it.
policies: st.SearchStrategy[Policy] = st.one_of(
    st.builds(Latest, st.integers(1, 2**32 - 1)),
    st.just(All()),
    st.builds(Specific, st.lists(versions, max_size=4, unique=True).map(tuple)),
)
printable = st.characters(exclude_categories=["C"], include_characters="\"'\\#{}<>[]:;,")
models = st.builds(
    Model,
    name=st.text(printable, max_size=6),
    base_path=st.text(printable, max_size=12).map("/models/".__add__),
    policy=policies,
    labels=st.dictionaries(st.sampled_from(LABELS), versions, max_size=3),
)
configs = st.lists(models, max_size=3, unique_by=lambda one: one.name).map(tuple)


class Speller:
    """Writes a configuration as text form allows it, never as anyone would."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def config(self, models: tuple[Model, ...]) -> str:
        """The whole file."""
        entries = [("config", self.message(self.model(one))) for one in models]
        return self.space() + self.fields([("model_config_list", self.message(entries))])

    def model(self, model: Model) -> list[tuple[str, str]]:
        """One entry's fields."""
        found = [
            ("name", self.text(model.name)),
            ("base_path", self.text(model.base_path)),
            ("model_platform", self.text(model.platform)),
        ]
        match model.policy:
            case Specific(listed):
                spelled = [("versions", self.number(one)) for one in listed]
                chosen = [("specific", self.message(spelled, mixed=False))]
            case Latest(count):
                chosen = [("latest", self.message([("num_versions", self.number(count))]))]
            case _:
                chosen = [("all", self.message([]))]
        if model.policy != Latest(1) or self.chance.random() < 0.5:
            found.append(("model_version_policy", self.message(chosen)))
        for label, version in model.labels.items():
            pair = [("key", self.text(label)), ("value", self.number(version))]
            found.append(("version_labels", self.message(pair)))
        if self.chance.random() < 0.3:
            rate = self.message(
                [("sampling_rate", self.chance.choice(["1", ".5", "1e-3", "0.25"]))]
            )
            found.append(("logging_config", self.message([("sampling_config", rate)])))
        return found

    def message(self, fields: list[tuple[str, str]], *, mixed: bool = True) -> str:
        """Fields in braces of either kind, in any order if that may be."""
        if mixed:
            self.chance.shuffle(fields)
        begin, end = self.chance.choice(["{}", "<>"])
        return begin + self.space() + self.fields(fields) + end

    def fields(self, fields: list[tuple[str, str]]) -> str:
        """Fields one after the other, those of a name as a list or each by itself."""
        out = ""
        while fields:
            name, value = fields[0]
            run = [other for other, _ in fields[: len(fields)]]
            count = next((at for at, other in enumerate(run) if other != name), len(run))
            repeated = name in ("versions", "version_labels", "config")
            if repeated and self.chance.random() < 0.4:
                taken = fields[:count]
                value = (
                    "[" + ",".join(f"{self.space()}{one}{self.space()}" for _, one in taken) + "]"
                )
            else:
                taken = fields[:1]
            bare = value[0] in "{<" and self.chance.random() < 0.5
            out += f"{name}{self.space()}{'' if bare else ':'}{self.space()}{value}"
            out += self.space(least=" ") + self.chance.choice(["", ",", ";"]) + self.space()
            fields = fields[len(taken) :]
        return out

    def text(self, text: str) -> str:
        """In quotes, in one piece or several."""
        cut = self.chance.randint(0, len(text))
        pieces = [text] if self.chance.random() < 0.6 else [text[:cut], text[cut:]]
        return self.space().join(self.quoted(piece) for piece in pieces)

    def quoted(self, text: str) -> str:
        """With either quote, with escapes where they must be and where they need not."""
        quote = self.chance.choice("\"'")
        return quote + "".join(self.character(one, quote) for one in text) + quote

    def character(self, one: str, quote: str) -> str:
        """A character, or an escape that stands for it."""
        ways = ["octal", "hex"]
        if one != "\\":  # protobuf's for Python reads what \\u005c stands for a second time
            ways.append("u" if ord(one) < 2**16 else "U")
        way = self.chance.choice(ways) if self.chance.random() < 0.2 else ""
        if way in ("octal", "hex"):
            form = "\\{:03o}" if way == "octal" else "\\x{:02x}"
            return "".join(form.format(byte) for byte in one.encode())
        if way:
            return f"\\u{ord(one):04x}" if way == "u" else f"\\U{ord(one):08X}"
        return f"\\{one}" if one in (quote, "\\") else one

    def number(self, number: int) -> str:
        """Decimal, hexadecimal or octal."""
        sign = "-" if number < 0 else ""
        return sign + self.chance.choice(["{}", "{}", "0x{:x}", "0X{:X}", "0{:o}"]).format(
            abs(number)
        )

    def space(self, least: str = "") -> str:
        """Nothing, white space, or a comment."""
        comment = " # not: \"this' } > ]\n"
        return self.chance.choice([least, least, " ", "\t", "\n", "\r\n", comment])


def read(tools: pod_tools.Tools, path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What awk says of a models.config."""
    path.write_bytes(text.encode())
    return subprocess.run(
        [*tools.awk, "-f", str(pod_tools.READER), str(path)],
        env={"LC_ALL": "C", "PATH": tools.path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def expected(config: ModelsConfig) -> list[str]:
    """The lines that awk is to say."""
    lines = []
    for model in config.models:
        match model.policy:
            case Specific(listed):
                policy = "specific:" + ",".join(map(str, listed))
            case Latest(count):
                policy = f"latest:{count}"
            case _:
                policy = "all"
        lines.append(f"{policy} {model.labels.get('stable', '-')} {model.base_path}")
    return lines


@pytest.fixture(scope="module", params=pod_tools.SHELLS)
def tools(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pod_tools.Tools:
    return pod_tools.make(request.param, tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "models.config"


@settings(deadline=None)
@given(listed=configs, chance=st.randoms(use_true_random=False))
def test_every_spelling_means_in_a_pod_what_it_means_to_the_server(
    tools: pod_tools.Tools, path: Path, listed: tuple[Model, ...], chance: random.Random
) -> None:
    text = Speller(chance).config(listed)
    config = models_config.parse(text)
    assert {one.name: one.policy for one in config.models} == {
        one.name: one.policy for one in listed
    }, "the speller writes what is meant"
    done = read(tools, path, text)
    assert (done.returncode, done.stdout.splitlines()) == (0, expected(config)), text


def test_the_projects_own_file_is_read(tools: pod_tools.Tools, path: Path) -> None:
    owner = ROOT / "serving" / "models.config"
    done = read(tools, path, owner.read_text(encoding="utf-8"))
    assert done.stdout.splitlines() == expected(models_config.read(owner))


ENTRY = (
    'model_config_list { config { name: "m" base_path: "/models/m" model_platform: "tensorflow" '
)


@pytest.mark.filterwarnings("ignore:.*invalid escape")  # protobuf's for Python takes \\q for \\q
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_config_list {\n", "2:1: Expected }. Received: the end of the file"),
        ("model_config_list {\n  config }", "2:10: Expected :, { or <. Received: }"),
        ('model_config_list { config { name: "x', "1:36: Expected the end of the string"),
        (ENTRY + "version_labels { value: one } } }", "Expected a whole number. Received: one"),
        (ENTRY + 'version_labels { value: "1" } } }', "Expected a number without quotes. Rec"),
        (ENTRY + "version_labels { key: stable } } }", "Expected text in quotes. Received: stable"),
        (ENTRY + "version_labels { value: 0x } } }", "Expected a whole number. Received: 0x"),
        (ENTRY + "version_labels { value: 09 } } }", "Expected a whole number. Received: 09"),
        (ENTRY + "version_labels { value: [1 2] } } }", "Expected ]. Received: 2"),
        ("model_config_list { config { name: '\\q' } }", "1:36: Expected an escape that text form"),
        (
            "model_config_list { config { base_path: '/models/\\n' } }",
            "without control characters. Received: one",
        ),
        ("model_config_list { config { } }", "Expected a base_path before here"),
        ("a {" * 200, "Expected at most 100 messages within each other"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_with_its_place(
    tools: pod_tools.Tools, path: Path, text: str, said: str
) -> None:
    with pytest.raises(models_config.ConfigError):
        models_config.parse(text)
    done = read(tools, path, text)
    assert done.returncode == 1
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert said in line
    assert line.split(": Expected")[0].replace(":", "").isdigit()
