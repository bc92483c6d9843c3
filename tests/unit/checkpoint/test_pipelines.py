"""River pipelines are saved with their learned state, to paths and to open files."""

from __future__ import annotations

import io
import itertools
import math
import zipfile

import numpy as np
import pytest
from river import compose, feature_extraction, preprocessing, stats
from river_pipelines import NUMBERS, STEPS, draw_samples, predict_and_learn, train_scaled_pipeline

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint
from stream_perceptron.encoders import DateEncoder


@pytest.mark.parametrize("name", STEPS)
def test_a_pipeline_goes_on_as_if_nothing_had_happened(name, tmp_path):
    here = STEPS[name]() | SGDPerceptron(0.1, seed=0)
    for x, y in draw_samples(300):
        here.learn_one(x, y)
    save(here, tmp_path / "m.npz")
    there = load(tmp_path / "m.npz").model

    assert str(there) == str(here)
    assert predict_and_learn(there) == predict_and_learn(here)
    for path, model in (("a.npz", here), ("b.npz", there)):
        save(model, tmp_path / path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: compose.FuncTransformer(dict), "FuncTransformer cannot be saved: use BagOfWords,"),
        (lambda: NUMBERS + preprocessing.RobustScaler(), "RobustScaler cannot be saved"),
        (lambda: preprocessing.MinMaxScaler(window_size=9), "Scaler: RollingMin cannot"),
        (lambda: preprocessing.StatImputer(("a", stats.Quantile())), "Imputer: Quantile cannot"),
        (lambda: feature_extraction.BagOfWords(tokenizer=len), "BagOfWords: builtin_function"),
        (lambda: feature_extraction.TFIDF(ngram_range=(1, 101)), r"range \(1, 101\) cannot"),
        (lambda: preprocessing.FeatureHasher(n_features=0), "with n_features 0 cannot"),
        (lambda: feature_extraction.PolynomialExtender(11), "degree 11 cannot"),
        (lambda: compose.Prefixer(5), "Prefixer with this prefix cannot be saved"),
    ],
)  # fmt: skip
def test_another_step_is_refused_with_what_can_be_saved(make, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        save(make() | SGDPerceptron(), tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


def learned_encoder(encoder, *values):
    """Return an encoder that knows values of a column."""
    for value in values:
        encoder.learn_one({"a": value})
    return encoder


ODD_VALUES = {
    "NaN": (1.0, math.nan, 2.5),
    "types": (int, str, float),
    "nothing": (None, "", 0, False),
    "halves of characters": ("\ud800", "a"),
    "large numbers": (2**80, -(2**70), 1e308, -0.0),
    "tuples": ((1, "a"), ((), 2.5)),
}


def test_an_encoder_of_dates_is_saved():
    model = (compose.Discard("at") + DateEncoder("at")) | SGDPerceptron(seed=0)
    for day in range(1, 29):
        model.learn_one({"a": 1.0, "at": f"2024-02-{day:02} 10:00"}, day % 7 < 2)
    file = io.BytesIO()
    save(model, file)
    file.seek(0)
    again = load(file).model
    x = {"a": 1.0, "at": "2024-03-01"}

    assert again.predict_proba_one(x) == model.predict_proba_one(x)
    assert again["TransformerUnion"].transformers["DateEncoder"].columns == ("at",)


@pytest.mark.parametrize("make", [preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder])
@pytest.mark.parametrize("name", ODD_VALUES)
def test_odd_values_are_known_after_loading(name, make, tmp_path):
    """Also where they are fixed as the categories of another encoder."""
    values = ODD_VALUES[name]
    for encoder in (make(), make(categories=learned_encoder(make(), *values).values)):
        here = learned_encoder(encoder, *values) | SGDPerceptron(seed=0)
        save(here, tmp_path / "m.npz")
        there = load(tmp_path / "m.npz").model
        for x in [{"a": value} for value in values] + [{"b": "new"}]:
            mine, yours = (model[make.__name__].transform_one(x) for model in (here, there))
            assert repr(sorted(mine.items())) == repr(sorted(yours.items()))


def test_numbers_of_numpy_stay_what_they_are(tmp_path):
    """River computes with them, with their precision."""
    rng = np.random.default_rng(0)
    scalers = (
        preprocessing.StandardScaler(),
        preprocessing.MaxAbsScaler(),
        preprocessing.MinMaxScaler(),
    )
    for scaler, kind in itertools.product(scalers, (np.float32, np.float64, np.float16)):
        here = scaler.clone() | SGDPerceptron(0.1, seed=0)
        for x in rng.normal(size=(50, 3)).astype(kind):
            here.learn_one(dict(enumerate(x)), bool(x[0] > 0))
        save(here, tmp_path / "m.npz")
        there = load(tmp_path / "m.npz").model
        for x in rng.normal(size=(50, 3)):
            assert there.predict_proba_one(dict(enumerate(x))) == here.predict_proba_one(
                dict(enumerate(x))
            )
            for model in (here, there):
                model.learn_one(dict(enumerate(x.tolist())), bool(x[0] > 0))


def test_steps_keep_their_names(tmp_path):
    for names in (["scale", "model"], ["only"]):
        steps = dict(zip(names, [preprocessing.MaxAbsScaler(), SGDPerceptron()], strict=False))
        steps[names[-1]] = SGDPerceptron()
        save(compose.Pipeline(*steps.items()), tmp_path / "m.npz")
        assert names == list(load(tmp_path / "m.npz").model.steps)


def nested(make, depth):
    step = compose.Select("a")
    for _ in range(depth):
        step = make(step)
    return step


@pytest.mark.parametrize("make", [compose.Pipeline, compose.TransformerUnion])
@pytest.mark.parametrize("depth", [1, 9, 150])
def test_what_is_nested_is_saved_if_it_loads(depth, make, tmp_path):
    if make is compose.TransformerUnion:  # River takes twice the time for each
        depth = min(depth, 10)
    here = compose.Pipeline(("steps", nested(make, depth)), ("model", SGDPerceptron()))
    refused = ""
    try:
        save(here, tmp_path / "m.npz")
    except CheckpointError as error:
        refused = str(error)

    if refused:  # how deep is too deep is Python's
        assert depth == 150
        assert "nested too deeply" in refused
    else:
        assert str(here) == str(load(tmp_path / "m.npz").model)


def forged(tmp_path, **changes):
    """Return a checkpoint of a perceptron, with other steps or another lr."""
    path = tmp_path / "forged.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
    meta["model"] |= {name: changes.pop(name) for name in ("lr",) if name in changes}
    write_checkpoint(path, meta | changes, arrays)
    return path


def test_unions_in_unions_are_loaded_at_once(tmp_path):
    """River copies what it puts into a union, and with it all unions inside."""
    step = {"class": "compose.Select", "state": {"keys": {"set": ["a"]}}}
    for _ in range(40):
        state = {"transformers": {"dict": [["u", step]]}}
        step = {"class": "compose.TransformerUnion", "state": state}
    path = forged(tmp_path, steps={"dict": [["u", step], ["SGDPerceptron", None]]})
    assert len(load(path).model.steps) == 2


def in_lists(value, depth):
    for _ in range(depth):
        value = [value]
    return value


FORGED = {
    "a deep learning rate": {
        "lr": {"class": "optim.schedulers.Constant", "state": {"learning_rate": in_lists(0, 700)}}
    },
    "a window": {"class": "preprocessing.StandardScaler", "state": {"window_size": 5}},
    "an impossible window": {"class": "preprocessing.MinMaxScaler", "state": {"window_size": -1}},
    "a plan": {
        "class": "compose.Pipeline",
        "state": {"steps": {"dict": []}, "_plan": {"tuple": []}},
    },
    "a number that its type has not": {"numpy": ["int8", 300]},
    "a number of no type": {"numpy": ["object", 3]},
    "a table of no type": {"defaultdict": ["SGDPerceptron", []]},
    "no tables": {
        "class": "preprocessing.StandardScaler",
        "state": {"with_std": True, "window_size": None},
    },
    "a statistic as a name": {
        "class": "preprocessing.StatImputer",
        "state": {"imputers": {"tuple": [{"tuple": [{"class": "stats.Mean", "state": {}}, 1.0]}]}},
    },
    "values beside no categories": {
        "class": "preprocessing.OneHotEncoder",
        "state": {"categories": {"dict": []}, "values": {"dict": [["a", "b"]]}},
    },
    "a degree that takes minutes": {
        "class": "feature_extraction.PolynomialExtender",
        "state": {
            "degree": 100,
            "interaction_only": False,
            "include_bias": False,
            "bias_name": "bias",
        },
    },
    **{
        name: {
            "class": "preprocessing.StandardScaler",
            "state": {
                "with_std": True,
                "window_size": None,
                "counts": {"dict": [["a", count]]},
                "means": {"dict": [["a", 0.5]]},
                "vars": {"dict": [["a", variance]]},
            },
        }
        for name, count, variance in [
            ("a negative count", -1, 1.0),
            ("a count beyond any stream", 10**400, 1.0),
            ("a negative variance", 3, -1.0),
            ("a variance that is no number", 3, {"float": "nan"}),
        ]
    },
    "no perceptron": {"class": "preprocessing.StandardScaler", "state": {}},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_steps_are_refused(name, tmp_path):
    step = FORGED[name]
    last = [] if name == "no perceptron" else [["SGDPerceptron", None]]
    changes = step if "lr" in step else {"steps": {"dict": [["a", step], *last]}}
    path = forged(tmp_path, **changes)
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("value", [10**4400, np.datetime64("2020-01-01T00:00:00")], ids=type)
def test_values_that_no_json_holds_are_refused(value, tmp_path):
    model = learned_encoder(preprocessing.OrdinalEncoder(), value) | SGDPerceptron()
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save(model, tmp_path / "m.npz")


def test_any_binary_file_will_do(tmp_path):
    model = preprocessing.StandardScaler() | SGDPerceptron(0.1, seed=0)
    for i in range(30):
        model.learn_one({"a": i % 7, "b": i % 3}, i % 7 > 3)
    save(model, tmp_path / "m.npz", {"offset": 29})
    whole = (tmp_path / "m.npz").read_bytes()
    memory = io.BytesIO()
    save(model, memory, {"offset": 29})
    path = tmp_path / "state.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("model", "w") as member:
        save(model, member, {"offset": 29})
    memory.seek(0)
    with zipfile.ZipFile(path) as archive, archive.open("model") as member:
        loaded = [load(memory), load(member)]

    assert whole == memory.getvalue()
    for model_there, extra in loaded:
        assert extra == {"offset": 29}
        again = io.BytesIO()
        save(model_there, again, extra)
        assert again.getvalue() == whole


def test_files_that_will_not_do(tmp_path):
    path = tmp_path / "m.npz"
    with (
        path.open("w") as file,
        pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"),
    ):
        save(SGDPerceptron(), file)
    with path.open() as file, pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"):
        load(file)
    with pytest.raises(
        CheckpointError, match="the file: not a stream-perceptron model, or damaged"
    ):
        load(io.BytesIO(b"PK"))


def test_a_pipeline_predicts_alike_in_the_command_line_and_back_in_python(rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, X = train_scaled_pipeline(rng)
    save(pipeline, path)
    live = LiveModel.load(path)
    inside = [live.model.predict_one(x) for x in X]
    live.save(path)
    back = load(path).model

    assert [pipeline.predict_one(x) for x in X] == inside == [back.predict_one(x) for x in X]
    table = live.model.network.scaler.table
    assert (table[0] == 200).all()
    assert LiveModel.load(path).model.network.scaler.table.tobytes() == table.tobytes()


def changed(table, name):
    counts, middle, last = table
    if name == "negative variance":
        last[0] = -1.0
    elif name == "half a sample":
        counts[0] = 1.5
    elif name == "no number":
        middle[0] = np.inf
    elif name == "statistics of nothing":
        counts[0] = 0
    return table


@pytest.mark.parametrize(
    "name", ["negative variance", "half a sample", "statistics of nothing", "no number"]
)
def test_statistics_that_no_samples_lead_to_are_refused(name, rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, _ = train_scaled_pipeline(rng)
    save(pipeline, path)
    LiveModel.load(path).save(path)
    meta, arrays = read_checkpoint(path)
    arrays["statistics"] = changed(arrays["statistics"].copy(), name)
    write_checkpoint(path, meta, arrays)
    for read in (load, LiveModel.load):
        with pytest.raises(CheckpointError):
            read(path)
