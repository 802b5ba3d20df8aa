from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from PIL import Image

from loadtest.loops.rest_client import RestClient
from loadtest.traffic.workload import Mix, Workload
from tfs_client import contract

SIZES = {contract.LABEL_STABLE: (8, 6), contract.LABEL_CANARY: (4, 4)}

MIX = Mix(
    signatures={contract.SIGNATURE_DEFAULT: 1, contract.SIGNATURE_IMAGES: 1},
    labels={contract.LABEL_STABLE: 1, contract.LABEL_CANARY: 1},
    batches={"1": 1, "3": 1},
    formats={"as-is": 1, "jpeg": 1},
)


@pytest.fixture
def requests(tmp_path):
    random = np.random.default_rng(0)
    for at in range(3):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
    return Workload(MIX, tmp_path, input_sizes=SIZES)


def test_a_body_holds_what_the_request_holds(requests):
    client, seen = RestClient("localhost:8501", "m", 1.0), set()
    for number in range(40):
        request = requests[number]
        body = json.loads(client.body(request))
        assert body["signature_name"] == request.signature
        ((name, values),) = request.inputs.items()
        assert len(body["instances"]) == len(values)
        for row, value in zip(body["instances"], values):
            assert row.keys() == {name}
            if request.signature == contract.SIGNATURE_DEFAULT:
                assert base64.b64decode(row[name]["b64"], validate=True) == value
            else:
                assert np.array_equal(row[name], value)
        seen.add((request.signature, request.label))
    assert len(seen) == 4


def test_who_has_made_each_picture_ready_encodes_nothing_while_the_clock_runs(requests):
    rows = {}
    early = RestClient("localhost:8501", "m", 1.0, rows)
    for request in requests.each_picture():
        early.body(request)
    ready = dict(rows)
    # 3 files in 2 formats: as files, and as pixels of the size of each label.
    assert len(ready) == 3 * 2 * 3
    user = RestClient("localhost:8501", "m", 1.0, rows)
    for number in range(200):
        user.body(requests[number])
    assert rows == ready
