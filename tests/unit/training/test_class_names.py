"""The positive class by the classes' names."""

from __future__ import annotations

import pytest

from foundation.command_line import InputError
from training.data import class_names

# negative, positive
BY_NAME = """
    good bad | ok nok | OK NOK | ok_front def_front | no_crack crack | crack_free crack
    2_ok 1_nok | ok_1 nok_0 | sound defective | sound unsound | healthy unhealthy | normal abnormal
    intact broken | clean dirty | pass fail | passed failed | PASS FAIL | okay not_okay
    good not_good | ok not_ok | Ok NotOk | OkParts NotOkParts | without_defect with_defect
    defect_free defective | defect-free defect | undamaged damaged | non_defective defective
    non-defective defective | no_visible_crack visible_crack | faultless faulty | flawless flawed
    normal pneumonia | benign malignant | negative positive | neg pos | no yes | false true
    0 1 | class_0 class_1 | label0 label1 | not_cat cat | no_fire fire | nofire fire | non_fire fire
    without_mask with_mask | good other | normal tumor | no_tumor tumor | defect_no defect_yes
    good_parts_ok good_parts_nok | no_defects defects | uncracked cracked | correct incorrect
    gut schlecht | Gut Schlecht | gutteile schlechtteile | i.O. n.i.O. | iO niO | io n_io
    in_Ordnung nicht_in_Ordnung | fehlerfrei fehlerhaft | kein_Fehler Fehler | ohne_Riss Riss
    rissfrei Riss | unbeschädigt beschädigt | nicht_defekt defekt | heil kaputt | gesund krank
    unauffällig auffällig | sauber verschmutzt | fehlerlos Fehler | gute_Teile defekte_Teile
    kein_Befund Befund | nein ja | Gutteil Ausschuss | dust_free dust | kratzerfrei verkratzt
    uninfected parasitized | NonCOVID COVID | non-COVID COVID | not_hot_dog hot_dog | healthy rotten
    intakt defekt | dicht undicht | vollständig unvollständig | complete incomplete | OK NG
    accepted rejected | conforming nonconforming | usable unusable | normal anormal | 0_ok 1_ng
    no_helmet helmet | no_smoke smoke | Uncracked Cracked | NonCracked Cracked | real fake
"""
PAIRS = [pair.split() for line in BY_NAME.strip().split("\n") for pair in line.split("|")]


@pytest.mark.parametrize(("negative", "positive"), PAIRS)
def test_the_name_that_says_defect_is_positive(negative: str, positive: str) -> None:
    assert class_names.choose({positive, negative}, None) == (
        (negative, positive),
        class_names.BY_NAME,
    )


@pytest.mark.parametrize(
    "pair",
    ["cats dogs", "left right", "a b", "1 2", "crack scratch", "good fine", "cam1 cam2",
     "über unter", "free occupied", "badge card", "universe union", "stainless copper", "okra peas",
     "cut_a cut_b", "open closed", "men women", "day night", "io_1 io_2"],
)  # fmt: skip
def test_where_no_name_says_so_the_alphabet_decides_and_that_is_told(pair: str) -> None:
    first, second = sorted(pair.split())
    assert class_names.choose({first, second}, None) == ((first, second), class_names.BY_ALPHABET)


@pytest.mark.parametrize("pair", [("OK", "ok"), ("café", "cafe\u0301")])
def test_one_name_in_two_spellings_is_no_two_classes(pair: tuple[str, str]) -> None:
    for more in ((), ("other",)):
        with pytest.raises(InputError, match="Give both the same name"):
            class_names.choose({*pair, *more}, None)


def test_what_the_user_says_comes_first() -> None:
    assert class_names.choose({"ok", "nok"}, "ok") == (("nok", "ok"), class_names.BY_SETTING)
    with pytest.raises(InputError, match=r"one of nok, ok\. Received: bad"):
        class_names.choose({"ok", "nok"}, "bad")
