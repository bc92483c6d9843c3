"""The types and the numbers of labels."""

from __future__ import annotations

import pytest

from stream_perceptron import SampleError
from stream_perceptron.data.meaning.labels import Labels, infer_label_type, parse_classes
from stream_perceptron.model.weights import compute_max_features, count_weights


def build(known=(), label_type=None, is_text=True, max_weights=None):
    return Labels(known, label_type, ("", "NA"), is_text, max_weights)


def test_labels_are_numbered_in_order_of_appearance():
    labels = build(["b"])
    ids = [labels.find_id(value, 3) for value in ("a", "b", "", "NA", "a", None, " c")]
    assert (ids, labels.names) == ([1, 0, -1, -1, 1, -1, 2], ["b", "a", " c"])

    labels.truncate(1)
    assert labels.names == ["b"]
    assert labels.find_id(" c", 3) == 1


TEXTS = {
    "int": ["7", "7.", "7.00", "+7", "-0", "0"],
    "bool": ["true", "False", "TRUE"],
    "str": ["007", "-01", "7.5", "seven", "1e3", "0x1", "yes"],
}


@pytest.mark.parametrize("label_type", TEXTS)
def test_first_text_decides_the_type(label_type):
    assert {infer_label_type(text, is_text=True) for text in TEXTS[label_type]} == {label_type}
    assert {infer_label_type(text, is_text=False) for text in TEXTS[label_type]} == {"str"}


def test_spellings_of_a_number_are_one_label():
    labels = build()
    assert [labels.find_id(text, 1) for text in ("3", "3.0", "+3", "-0", "0")] == [0, 0, 0, 1, 1]
    assert labels.names == [3, 0]


@pytest.mark.parametrize(
    ("first", "value", "is_text", "reason"),
    [
        ("3", "x", True, "label 'x' is not a whole number, but the labels are$"),
        ("3", "2.5", True, "to learn a quantity, put it into bins"),
        ("3", "1" * 21, True, "is not a whole number"),
        ("true", "1", True, "label '1' is not true or false"),
        (1.0, True, False, "label True is not a whole number"),
        ("x", 1, False, "label 1 is not a string"),
        (True, 1, False, "label 1 is not true or false"),
    ],
)
def test_label_of_another_type_is_rejected(first, value, is_text, reason):
    labels = build(is_text=is_text)
    labels.find_id(first, 1)
    with pytest.raises(SampleError, match=reason):
        labels.find_id(value, 1)
    assert len(labels.names) == 1


def test_label_that_does_not_fit_is_rejected_before_it_is_numbered():
    max_weights = count_weights(3, 4)
    labels = build(["a", "b"], max_weights=max_weights)
    assert labels.compute_max_features() == compute_max_features(2, max_weights) >= 4
    with pytest.raises(SampleError, match="does not fit into the model"):
        labels.find_id("c", 5)
    assert labels.names == ["a", "b"]
    assert [labels.find_id("b", 5), labels.find_id("c", 4)] == [1, 2]


def test_classes_of_two_types_are_strings():
    assert parse_classes(["1", "x"], None) == (["1", "x"], "str")
    with pytest.raises(ValueError, match="class 'x' is not a whole number"):
        parse_classes(["1", "x"], "int")
