"""What one may type as a target, and what is said to the rest."""

import pytest

from foundation.command_line import InputError
from training.decision import target
from training.decision.target import Balanced, Costs, Share, Threshold


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("recall>=0.95", Share("recall", 0.95)),
        ("Recall >= 95%", Share("recall", 0.95)),
        ("precision≥.9", Share("precision", 0.9)),
        ("fpr<=0.05", Share("fpr", 0.05)),
        ("miss=10,false_alarm=1", Costs(miss=10, false_alarm=1)),
        ("false_alarm=2, miss=5", Costs(miss=5, false_alarm=2)),
        ("balanced", Balanced()),
        ("threshold=0.4", Threshold(0.4)),
    ],
)
def test_a_target_is_read_and_reads_back(text, means):
    assert target.parse(text) == means
    assert target.parse(str(means)) == means


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not one of them"),
        ("recall", "not one of them"),
        ("recall<=0.9", "recall is asked for with >="),
        ("recall>0.9", "recall is asked for with >="),
        ("fpr>=0.1", "fpr is asked for with <="),
        ("recall>=1", "neither can be promised"),
        ("recall>=0", "neither can be promised"),
        ("recall>=nan", "neither can be promised"),
        ("recall>=95", "neither can be promised"),
        ("recall>=high", "'high' is no number"),
        ("accuracy>=0.9", "not one of them"),
        ("miss=10,miss=1", "not one of them"),
        ("miss=10", "not one of them"),
        ("miss=0,false_alarm=1", "numbers above 0"),
        ("miss=inf,false_alarm=1", "numbers above 0"),
        ("threshold=1.5", "between 0 and 1"),
        ("threshold=nan", "between 0 and 1"),
    ],
)
def test_what_is_no_target_is_told_with_examples(text, why):
    with pytest.raises(InputError, match=r"recall>=0\.95") as caught:
        target.parse(text)
    assert why in str(caught.value)
    assert repr(text) in str(caught.value)
