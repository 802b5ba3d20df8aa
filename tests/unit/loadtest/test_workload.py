from __future__ import annotations

import hashlib
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from foundation.command_line import InputError
from loadtest.traffic import answers, workload
from loadtest.traffic.workload import Mix, Workload
from tfs_client import AnswerError, Prediction, contract

STABLE, CANARY = contract.LABEL_STABLE, contract.LABEL_CANARY
SIZES = {STABLE: (8, 6), CANARY: (4, 4)}

MIX = Mix(
    signatures={contract.SIGNATURE_DEFAULT: 3, contract.SIGNATURE_IMAGES: 1},
    labels={STABLE: 9, CANARY: 1},
    batches={"1": 3, "4": 1},
    formats={"as-is": 1, "jpeg": 1, "gif": 1, "bmp": 1},
    sizes={"as-is": 1, "20": 1},
)


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
    return tmp_path


@pytest.fixture
def work(folder):
    return Workload(MIX, folder, input_sizes=SIZES)


def images_of(request):
    return next(iter(request.inputs.values()))


def fingerprint(request):
    content = b"".join(
        one if isinstance(one, bytes) else one.tobytes() for one in images_of(request)
    )
    return (request.signature, request.label, request.pictures, hashlib.sha1(content).hexdigest())


def test_request_n_is_the_same_for_the_same_seed_in_whatever_order_it_is_asked_for(folder, work):
    again = Workload(MIX, folder, input_sizes=SIZES)
    forwards = [fingerprint(work[number]) for number in range(200)]
    backwards = [fingerprint(again[number]) for number in reversed(range(200))]
    assert forwards == backwards[::-1]
    other = Workload(MIX, folder, seed=1, input_sizes=SIZES)
    assert forwards != [fingerprint(other[number]) for number in range(200)]


def test_the_draws_are_the_same_on_every_machine():
    draws = workload._draws("0/7")
    found = [next(draws) for _ in range(9)]
    assert found[:2] == FIRST_DRAWS
    assert len(set(found)) == 9
    assert all(0 <= draw < 1 for draw in found)


FIRST_DRAWS = [0.8488820777526103, 0.7786820162661378]


def test_the_shares_are_those_of_the_weights(work):
    requests = [work[number] for number in range(4000)]
    kinds = Counter(name.partition("|")[2] for one in requests for name in one.pictures)
    labels = Counter(one.label for one in requests)
    signatures = Counter(one.signature for one in requests)
    batches = Counter(len(one.pictures) for one in requests)
    assert labels[CANARY] / 4000 == pytest.approx(0.1, abs=0.02)
    assert signatures[contract.SIGNATURE_IMAGES] / 4000 == pytest.approx(0.25, abs=0.03)
    assert batches[4] / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(kinds) == 8
    assert all(count / kinds.total() == pytest.approx(1 / 8, abs=0.02) for count in kinds.values())


def test_pictures_have_the_format_and_the_size_that_they_are_named_by(work):
    seen = set()
    for number in range(300):
        request = work[number]
        if request.signature != contract.SIGNATURE_DEFAULT:
            continue
        for name, content in zip(request.pictures, images_of(request)):
            _, kind, size = name.split("|")
            with Image.open(io.BytesIO(content)) as image:
                assert image.format == {"as-is": "PNG"}.get(kind, kind.upper())
                assert image.size == {"as-is": (40, 30), "20": (20, 15)}[size]
            seen.add((kind, size))
    assert len(seen) == 8


def test_pixels_have_the_size_that_the_labels_version_takes(work):
    for number in range(300):
        request = work[number]
        if request.signature == contract.SIGNATURE_IMAGES:
            pixels = request.inputs[contract.INPUT_IMAGES]
            assert pixels.shape == (len(request.pictures), *SIZES[request.label], 3)
            assert pixels.dtype == np.uint8


def test_a_plain_mix_sends_the_files_as_they_are(folder):
    work = Workload(Mix(), folder)
    (content,) = images_of(work[0])
    assert content in {path.read_bytes() for path in folder.iterdir()}
    assert work.distinct == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stable", {"stable": 1}),
        ("stable=9,canary=1", {"stable": 9, "canary": 1}),
        (" a = 0.5 , b ", {"a": 0.5, "b": 1}),
    ],
)
def test_weights_are_read(text, expected):
    assert workload.parse_weights("--label", text) == expected


@pytest.mark.parametrize("text", ["", "a,a", "a=0", "a=-1", "a=x", "a=nan", "a,", "=1", "a=inf"])
def test_weights_that_cannot_be_are_refused_in_one_line(text):
    with pytest.raises(InputError, match="Expected --label as NAME or NAME=WEIGHT"):
        workload.parse_weights("--label", text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signatures": {"classify": 1}}, "Expected --signature of serving_default"),
        ({"formats": {"tiff": 1}}, "Expected --format of as-is, jpeg"),
        ({"batches": {"0": 1}}, "Expected --batch from 1 to 1024. Received: 0"),
        ({"batches": {"as-is": 1}}, "Expected --batch from 1 to 1024. Received: as-is"),
        ({"sizes": {"big": 1}}, "Expected --size from 1 to 10000. Received: big"),
    ],
)
def test_a_mix_that_cannot_be_is_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words):
        Mix(**changes).check()


def test_a_file_that_is_no_image_is_refused_where_it_has_to_be_read(folder):
    broken = folder / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match="Expected an image that Pillow reads"):
        Workload(Mix(formats={"jpeg": 1}), folder)
    Image.new("L", (9, 9)).save(broken, icc_profile=bytes(2_000_000))  # Pillow's own ValueError
    with pytest.raises(InputError, match=r"Pillow reads\. Received: .*broken\.png: .*too large"):
        Workload(Mix(formats={"jpeg": 1}), folder)


# ---- answers ----


def prediction(*rows, version=1):
    """Rows: (label, probability), or None for an image that is not valid."""
    nan = float("nan")
    return Prediction(
        outputs={
            "label": np.array([(row[0] if row else "").encode() for row in rows], object),
            "probability": np.array([row[1] if row else nan for row in rows], np.float32),
            "valid": np.array([row is not None for row in rows]),
            "needs_review": np.array([False for _ in rows]),
        },
        model="m",
        version=version,
        signature="serving_default",
        latency_s=0.001,
    )


@pytest.fixture
def single(folder):
    return Workload(Mix(), folder)[0]


def test_the_same_version_has_to_say_the_same_again(single):
    judge = answers.Answers().judge
    assert judge(single, prediction(("defective", 0.9))) == ("OK", "")
    assert judge(single, prediction(("defective", 0.9001))) == ("OK", "")
    code, words = judge(single, prediction(("defective", 0.8)))
    assert code == answers.WRONG_ANSWER
    assert "defective 0.8000" in words
    assert "defective 0.9000 is right" in words
    assert judge(single, prediction(("functional", 0.9)))[0] == answers.WRONG_ANSWER
    assert judge(single, prediction(("functional", 0.1), version=2)) == ("OK", "")


def test_every_image_of_a_batch_is_held_against_its_own_answer(folder):
    request = Workload(Mix(batches={"3": 1}), folder, seed=3)[1]
    assert len(set(request.pictures)) == 3
    judge = answers.Answers().judge
    right = [("a", 0.1), ("b", 0.2), ("c", 0.3)]
    assert judge(request, prediction(*right))[0] == "OK"
    assert judge(request, prediction(*right))[0] == "OK"
    assert judge(request, prediction(right[1], right[0], right[2]))[0] == answers.WRONG_ANSWER
    with pytest.raises(AnswerError, match="a row for each of 3 images"):
        judge(request, prediction(*right[:2]))


def test_a_good_image_that_is_called_not_valid_is_a_failure_and_nothing_is_learnt(single):
    judge = answers.Answers().judge
    assert judge(single, prediction(None))[0] == answers.INVALID_IMAGE
    assert judge(single, prediction(("defective", 0.9)))[0] == "OK"


def test_known_answers_are_read_from_a_runs_predictions_and_held_against_the_first(
    single, tmp_path
):
    path = tmp_path / "predictions.csv"
    name = single.pictures[0].partition("|")[0]
    path.write_text(
        f"path,split,label,probability,predicted\n{name},test,defective,0.9,functional\n"
    )
    judge = answers.Answers(answers.read_known(path)).judge
    assert judge(single, prediction(("defective", 0.9)))[0] == answers.WRONG_ANSWER
    judge = answers.Answers(answers.read_known(path)).judge
    assert judge(single, prediction(("functional", 0.9)))[0] == "OK"


@pytest.mark.parametrize(
    "text", ["", "path,predicted\na,b\n", "path,predicted,probability\na,b,x\n"]
)
def test_known_answers_that_cannot_be_read_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="Expected"):
        answers.read_known(path)
    with pytest.raises(InputError, match="which is none"):
        answers.read_known(tmp_path / "missing.csv")
