"""River pipelines with each transformer that a checkpoint supports, and samples for them."""

from __future__ import annotations

import random

from river import compose, feature_extraction, feature_selection, preprocessing, stats

from stream_perceptron.encoders import DateEncoder, WordEncoder


def draw_samples(n):
    """Yield n samples with numbers, texts, lists and missing values."""
    rng = random.Random(0)
    for _ in range(n):
        x = {
            "colour": rng.choice("abcdefgh"), "size": rng.choice([1, 2, 3]), "u": rng.gauss(5, 2),
            "v": rng.gauss(0, 9), "tags": rng.sample(["x", "y", "z"], rng.randrange(1, 3)),
            "gap": rng.choice([None, 1.0, 2.5]), "text": " ".join(rng.sample(WORDS, 3)),
        }  # fmt: skip
        yield x, x["u"] > 5 or x["colour"] in "ab"


WORDS = ["perceptron", "learns", "été", "From", "one", "sample"]
# A set of several names, which `Select("u", "v")` has, may change its order when it is built again.
TEXTS = compose.Select("colour") + compose.Select("size")
NUMBERS = compose.Select("u") + compose.Select("v")
STEPS = {
    "StandardScaler": lambda: NUMBERS | preprocessing.StandardScaler(),
    "StandardScaler that centers": lambda: NUMBERS | preprocessing.StandardScaler(with_std=False),
    "MinMaxScaler": lambda: NUMBERS | preprocessing.MinMaxScaler(),
    "MaxAbsScaler": lambda: NUMBERS | preprocessing.MaxAbsScaler(),
    "Normalizer": lambda: NUMBERS | preprocessing.Normalizer(order=1),
    "Binarizer": lambda: NUMBERS | preprocessing.Binarizer(threshold=2, dtype=float),
    "OneHotEncoder": lambda: preprocessing.OneHotEncoder(),
    "OneHotEncoder without zeros": lambda: preprocessing.OneHotEncoder(drop_zeros=True),
    "OneHotEncoder without the first": lambda: preprocessing.OneHotEncoder(drop_first=True),
    "OneHotEncoder of known values": lambda: preprocessing.OneHotEncoder(
        categories={"colour": set("abc"), "size": {1, 2}, "tags": {"x"}, "text": set(),
                    "u": set(), "v": set(), "gap": set()}
    ),
    "OrdinalEncoder": lambda: TEXTS | preprocessing.OrdinalEncoder(unknown_value=3),
    "OrdinalEncoder of known values": lambda: TEXTS
    | preprocessing.OrdinalEncoder(categories={"colour": {"a": 2, "b": 1}, "size": {1: 5}}),
    "SelectType and Discard": lambda: compose.SelectType(int, float) | compose.Discard("v"),
    "Prefixer, Suffixer, Renamer": lambda: NUMBERS | compose.Renamer({"u": "w"})
    | compose.Prefixer("a_") | compose.Suffixer("_b"),
    "FeatureHasher": lambda: TEXTS | preprocessing.FeatureHasher(n_features=9),
    "BagOfWords": lambda: feature_extraction.BagOfWords(
        "text", stop_words={"one"}, ngram_range=(1, 2)
    ),
    "WordEncoder": lambda: WordEncoder("text", "gone"),
    "DateEncoder": lambda: compose.Select("u") + DateEncoder("gone"),
    "TFIDF": lambda: feature_extraction.TFIDF(on="text", lowercase=False),
    "VarianceThreshold": lambda: NUMBERS | feature_selection.VarianceThreshold(20),
    "StatImputer": lambda: (compose.Select("gap") + compose.Select("u"))
    | preprocessing.StatImputer(("gap", stats.Mean()), ("u", -1.0)),
    "PreviousImputer": lambda: compose.Select("gap") | preprocessing.PreviousImputer()
    | preprocessing.StatImputer(("gap", 0.5)),
    "PolynomialExtender": lambda: NUMBERS | feature_extraction.PolynomialExtender(),
    "a product": lambda: NUMBERS * (TEXTS | preprocessing.OneHotEncoder()),
    "two scalers": lambda: NUMBERS | preprocessing.StandardScaler() | preprocessing.MinMaxScaler(),
    "a union with names": lambda: compose.TransformerUnion(
        ("texts", compose.Select("colour") | ("encoder", preprocessing.OneHotEncoder())),
        ("gaps", compose.Select("gap") | preprocessing.StatImputer(("gap", stats.Var()))),
        ("numbers", NUMBERS | preprocessing.StandardScaler() | preprocessing.MaxAbsScaler()),
    ),
}  # fmt: skip
