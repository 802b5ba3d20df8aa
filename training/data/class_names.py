"""The order of the classes; of two, which is the positive one, by their names.

    choose({"ok_front", "def_front"}, None)   -> (("ok_front", "def_front"), BY_NAME)
    choose({"cats", "dogs"}, None)            -> (("cats", "dogs"), BY_ALPHABET)
    choose({"owl", "cat", "dog"}, None)       -> (("cat", "dog", "owl"), NO_POSITIVE)

Positive is what is looked for: the defect, the finding. A name is taken apart into words, English
and German ones are known, and negations turn them round: "no_crack", "fehlerfrei", "unsound".
"""

from __future__ import annotations

import re
import unicodedata

from foundation.command_line import InputError

BY_SETTING = "--positive"
BY_NAME = "by its name; --positive changes it"
BY_ALPHABET = "only as the last by name: neither name says which is looked for"
NO_POSITIVE = "more than two classes: none of them is the positive one"

MOST_CLASSES = 1000
"""More folders than that are hardly classes."""

MOST_IN_A_TABLE = 12
"""Classes whose confusions a page shows as a whole table."""

_POSITIVE = frozenset(
    # English
    "abnormal anomalous anomaly bad bent blemish break broken bubble burnt chip contaminated "
    "contamination corroded corrosion crack cut damage damaged def defect defective dent dirt "
    "dirty disease diseased error fail failed failure fake fault faulty finding flaw flawed "
    "foreign hole incomplete incorrect infected infection invalid irregular leak lesion "
    "malignant misaligned missing ng nok notok pos positive reject rotten rust scrap scratch "
    "sick spoiled torn true tumor tumour worn wrong yes "
    # German, with ae, oe, ue and ss
    "anomalie anormal auffaellig ausschuss befund beschaedigt beule boesartig bruch defekt "
    "dreck dreckig falsch fehler fehlerhaft gebrochen ja kaputt krank kratzer leck makel "
    "mangel mangelhaft nio positiv riss rost schaden schadhaft schlecht undicht verbogen "
    "verkratzt verschmutzt wahr zerbrochen".split()
)
_NEGATIVE = frozenset(
    "accept acceptable benign clean complete compliant conform conforming correct false fine "
    "good healthy intact neg negative normal ok okay pass perfect safe sound usable valid "
    "bestanden brauchbar dicht einwandfrei ganz gesund gut gutartig heil intakt io konform "
    "negativ ordnung richtig sauber vollstaendig".split()
)
_NOT = frozenset("kein keine keinen n nein nicht nichts no non not ohne without wo".split())
_NOT_BEHIND = frozenset("free frei".split())

_BEFORE = ("kein", "nicht", "no", "non", "not", "ohne", "un")
_BEHIND = ("frei", "free", "less", "los")
"""Parts of a word that turn the rest of it round."""

_ENDINGS = ("", "s", "es", "e", "d", "ed", "n", "en", "teil", "teile", "bild", "bilder")


def choose(labels: set[str], positive: str | None) -> tuple[tuple[str, ...], str]:
    """Names the negative class first and the positive one second; more than two by alphabet.

    Args:
        labels: two names or more.
        positive: the one that the user names; None: by the names themselves.

    Returns:
        the names in order, and BY_SETTING, BY_NAME, BY_ALPHABET or NO_POSITIVE.

    Raises:
        InputError: the user's choice is neither of the two, or there are more than two; some
            differ in capital letters only.
    """
    _check_apart(labels)
    if len(labels) > 2:
        if positive is not None:
            raise InputError(
                f"Expected no --positive where there are more than two classes. Received: "
                f"{positive}, and {len(labels)} classes. Leave it out, or keep two classes."
            )
        return tuple(sorted(labels)), NO_POSITIVE
    if positive is not None:
        if positive not in labels:
            raise InputError(
                f"Expected the positive class to be one of {', '.join(sorted(labels))}. Received: "
                f"{positive}."
            )
        how = BY_SETTING
    else:
        first, second = sorted(labels)
        told = [pair for pair in _rankings(first, second) if pair[0] != pair[1]]
        how = BY_NAME if told else BY_ALPHABET
        positive = first if told and told[0][0] > told[0][1] else second
    (negative,) = labels - {positive}
    return (negative, positive), how


def _check_apart(labels: set[str]) -> None:
    """Two names that differ in capital letters only, or in how an accent is written, are one."""
    seen: dict[str, str] = {}
    for label in sorted(labels):
        other = seen.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise InputError(
                f"Expected classes that differ in more than capital letters. Received: {other} and "
                f"{label}, of {len(labels)} classes. Give both the same name."
            )


def _lean(name: str) -> int:
    """2 says positive, -2 negative; -1 that something unknown is not there; 0 says nothing."""
    words = _words(name)
    if words and all(word in _NOT for word in words):
        return -2  # "no" beside "yes"
    meanings: list[int] = []
    turning = turned_unknown = False
    for index, word in enumerate(words):
        behind = word in _NOT_BEHIND or (word in _NOT and index == len(words) - 1)
        if behind and meanings:  # "crack_free", "defect_no"
            meanings[-1] = -meanings[-1]
            turned_unknown |= meanings[-1] == 0
        elif word in _NOT:
            turning = not turning
        elif word not in _NOT_BEHIND:
            meanings.append(-_meaning(word) if turning else _meaning(word))
            turning &= meanings[-1] == 0  # "no_visible_crack": the word that it turns may follow
    known = set(meanings) - {0}
    if known:
        return known.pop() if len(known) == 1 else 0
    return -1 if turning or turned_unknown else 0


def _meaning(word: str) -> int:
    """2, -2, or 0 where the word is not known."""
    turned = [word[len(part) :] for part in _BEFORE if word.startswith(part)]
    turned += [word[: -len(part)] for part in _BEHIND if word.endswith(part)]
    return _listed(word) or -next(filter(None, map(_listed, turned)), 0)


def _listed(word: str) -> int:
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if len(stem) < 3 and stem != word:
            continue
        if stem in _POSITIVE:
            return 2
        if stem in _NEGATIVE:
            return -2
    return 0


def _words(name: str) -> list[str]:
    """`n.i.O.` -> nio; `NotOk_Teile2` -> notok, teile, 2; `DefFront` -> def, front."""
    plain = unicodedata.normalize("NFC", name)
    words: list[str] = []
    for part in re.findall(r"[^\W\d_]+|\d+", plain):
        folded = _folded(part)
        if _meaning(folded) or part.islower() or not part.isascii():
            words.append(folded)
        else:
            words += map(_folded, re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", part))
    joined: list[str] = []
    letters = False
    for word in words:
        one_letter = len(word) == 1 and word.isalpha()
        if one_letter and letters:
            joined[-1] += word
        else:
            joined.append(word)
        letters = one_letter
    return joined


def _folded(word: str) -> str:
    return word.casefold().translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue"})


def _rankings(first: str, second: str) -> list[tuple[int, int]]:
    """Ways to tell the names apart, the surest first; the higher number is the positive one."""
    squashed = tuple("".join(_words(name)) for name in (first, second))
    return [
        (_lean(first), _lean(second)),
        (-_turns(*squashed), -_turns(*squashed[::-1])),
        _numbers(first, second),
    ]


def _turns(name: str, other: str) -> bool:
    """Whether a name is the other one turned round, as `nofire` is of `fire`."""
    return name in [part + other for part in _BEFORE] + [other + part for part in _BEHIND]


def _numbers(first: str, second: str) -> tuple[int, int]:
    """0 and 1 where the names differ in just that: numbers count things more often than that."""
    found = [[word for word in _words(name) if word.isdigit()] for name in (first, second)]
    if all(len(numbers) == 1 for numbers in found):
        one, other = (int(numbers[0]) for numbers in found)
        if {one, other} == {0, 1}:
            return one, other
    return 0, 0
