"""River pipelines are saved with their learned state, to paths and to open files."""

from __future__ import annotations

import io
import itertools
import math
import zipfile

import numpy as np
import pytest
from helpers import STATED_REASON
from river import compose, feature_extraction, preprocessing, stats
from river_pipelines import NUMBERS, STEPS, draw_samples, predict_and_learn, train_scaled_pipeline

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint
from stream_perceptron.encoders import DateEncoder


@pytest.mark.parametrize("name", STEPS)
def test_loaded_pipeline_continues_identically(name, tmp_path):
    original = STEPS[name]() | SGDPerceptron(0.1, seed=0)
    for x, y in draw_samples(300):
        original.learn_one(x, y)
    save(original, tmp_path / "m.npz")
    restored = load(tmp_path / "m.npz").model

    assert str(restored) == str(original)
    assert predict_and_learn(restored) == predict_and_learn(original)
    for path, model in (("a.npz", original), ("b.npz", restored)):
        save(model, tmp_path / path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: compose.FuncTransformer(dict),
            "FuncTransformer cannot be saved: use one of BagOfWords,",
        ),
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
def test_unsupported_step_is_rejected_with_the_reason(make, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        save(make() | SGDPerceptron(), tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


def train_encoder(encoder, *values):
    """Return an encoder that has learned values of a column."""
    for value in values:
        encoder.learn_one({"a": value})
    return encoder


UNUSUAL_VALUES = {
    "NaN": (1.0, math.nan, 2.5),
    "types": (int, str, float),
    "nothing": (None, "", 0, False),
    "lone surrogates": ("\ud800", "a"),
    "large numbers": (2**80, -(2**70), 1e308, -0.0),
    "tuples": ((1, "a"), ((), 2.5)),
}


def test_date_encoder_survives_saving():
    model = (compose.Discard("at") + DateEncoder("at")) | SGDPerceptron(seed=0)
    for day in range(1, 29):
        model.learn_one({"a": 1.0, "at": f"2024-02-{day:02} 10:00"}, day % 7 < 2)
    file = io.BytesIO()
    save(model, file)
    file.seek(0)
    loaded_model = load(file).model
    x = {"a": 1.0, "at": "2024-03-01"}

    assert loaded_model.predict_proba_one(x) == model.predict_proba_one(x)
    assert loaded_model["TransformerUnion"].transformers["DateEncoder"].columns == ("at",)


@pytest.mark.parametrize("make", [preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder])
@pytest.mark.parametrize("name", UNUSUAL_VALUES)
def test_unusual_values_are_known_after_loading(name, make, tmp_path):
    """This includes values that are fixed as the categories of another encoder."""
    values = UNUSUAL_VALUES[name]
    for encoder in (make(), make(categories=train_encoder(make(), *values).values)):
        original = train_encoder(encoder, *values) | SGDPerceptron(seed=0)
        save(original, tmp_path / "m.npz")
        restored = load(tmp_path / "m.npz").model
        for x in [{"a": value} for value in values] + [{"b": "new"}]:
            expected = original[make.__name__].transform_one(x)
            actual = restored[make.__name__].transform_one(x)
            assert repr(sorted(expected.items())) == repr(sorted(actual.items()))


def test_numpy_scalars_keep_their_precision(tmp_path):
    """River computes with NumPy scalars in their own precision."""
    rng = np.random.default_rng(0)
    scalers = (
        preprocessing.StandardScaler(),
        preprocessing.MaxAbsScaler(),
        preprocessing.MinMaxScaler(),
    )
    for scaler, kind in itertools.product(scalers, (np.float32, np.float64, np.float16)):
        original = scaler.clone() | SGDPerceptron(0.1, seed=0)
        for x in rng.normal(size=(50, 3)).astype(kind):
            original.learn_one(dict(enumerate(x)), bool(x[0] > 0))
        save(original, tmp_path / "m.npz")
        restored = load(tmp_path / "m.npz").model
        for x in rng.normal(size=(50, 3)):
            assert restored.predict_proba_one(dict(enumerate(x))) == original.predict_proba_one(
                dict(enumerate(x))
            )
            for model in (original, restored):
                model.learn_one(dict(enumerate(x.tolist())), bool(x[0] > 0))


def test_steps_keep_their_names(tmp_path):
    for names in (["scale", "model"], ["only"]):
        steps = dict(zip(names, [preprocessing.MaxAbsScaler(), SGDPerceptron()], strict=False))
        steps[names[-1]] = SGDPerceptron()
        save(compose.Pipeline(*steps.items()), tmp_path / "m.npz")
        assert names == list(load(tmp_path / "m.npz").model.steps)


def nest_steps(make, depth):
    step = compose.Select("a")
    for _ in range(depth):
        step = make(step)
    return step


@pytest.mark.parametrize("make", [compose.Pipeline, compose.TransformerUnion])
@pytest.mark.parametrize("depth", [1, 9, 150])
def test_nested_steps_that_are_saved_can_be_loaded(depth, make, tmp_path):
    if make is compose.TransformerUnion:  # River's time doubles with each level
        depth = min(depth, 10)
    original = compose.Pipeline(("steps", nest_steps(make, depth)), ("model", SGDPerceptron()))
    rejection = ""
    try:
        save(original, tmp_path / "m.npz")
    except CheckpointError as error:
        rejection = str(error)

    if rejection:  # the depth limit is that of Python
        assert depth == 150
        assert "nested too deeply" in rejection
    else:
        assert str(original) == str(load(tmp_path / "m.npz").model)


def forge_checkpoint(tmp_path, **changes):
    """Write a perceptron with forged steps or a forged lr; return the path of the checkpoint."""
    path = tmp_path / "forged.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
    meta["model"] |= {name: changes.pop(name) for name in ("lr",) if name in changes}
    write_checkpoint(path, meta | changes, arrays)
    return path


def test_nested_unions_are_loaded_quickly(tmp_path):
    """River copies each step of a union, including nested unions, which takes exponential time."""
    step = {"class": "compose.Select", "state": {"keys": {"set": ["a"]}}}
    for _ in range(40):
        state = {"transformers": {"dict": [["u", step]]}}
        step = {"class": "compose.TransformerUnion", "state": state}
    path = forge_checkpoint(tmp_path, steps={"dict": [["u", step], ["SGDPerceptron", None]]})
    assert len(load(path).model.steps) == 2


def nest_lists(value, depth):
    for _ in range(depth):
        value = [value]
    return value


FORGED = {
    "a deep learning rate": {
        "lr": {"class": "optim.schedulers.Constant", "state": {"learning_rate": nest_lists(0, 700)}}
    },
    "a window": {"class": "preprocessing.StandardScaler", "state": {"window_size": 5}},
    "an impossible window": {"class": "preprocessing.MinMaxScaler", "state": {"window_size": -1}},
    "a plan": {
        "class": "compose.Pipeline",
        "state": {"steps": {"dict": []}, "_plan": {"tuple": []}},
    },
    "a number beyond its type": {"numpy": ["int8", 300]},
    "a number of an unsupported type": {"numpy": ["object", 3]},
    "a defaultdict of an unsupported type": {"defaultdict": ["SGDPerceptron", []]},
    "a scaler without statistics": {
        "class": "preprocessing.StandardScaler",
        "state": {"with_std": True, "window_size": None},
    },
    "a statistic as a name": {
        "class": "preprocessing.StatImputer",
        "state": {"imputers": {"tuple": [{"tuple": [{"class": "stats.Mean", "state": {}}, 1.0]}]}},
    },
    "values without categories": {
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
    "no perceptron": {"class": "preprocessing.StandardScaler", "state": {}},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_steps_are_rejected(name, tmp_path):
    step = FORGED[name]
    last = [] if name == "no perceptron" else [["SGDPerceptron", None]]
    changes = step if "lr" in step else {"steps": {"dict": [["a", step], *last]}}
    path = forge_checkpoint(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=STATED_REASON):
        load(path)


@pytest.mark.parametrize("value", [10**4400, np.datetime64("2020-01-01T00:00:00")], ids=type)
def test_values_that_json_cannot_hold_are_rejected(value, tmp_path):
    model = train_encoder(preprocessing.OrdinalEncoder(), value) | SGDPerceptron()
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save(model, tmp_path / "m.npz")


def test_models_are_saved_to_any_binary_file(tmp_path):
    model = preprocessing.StandardScaler() | SGDPerceptron(0.1, seed=0)
    for i in range(30):
        model.learn_one({"a": i % 7, "b": i % 3}, i % 7 > 3)
    save(model, tmp_path / "m.npz", {"offset": 29})
    expected_bytes = (tmp_path / "m.npz").read_bytes()
    memory = io.BytesIO()
    save(model, memory, {"offset": 29})
    path = tmp_path / "state.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("model", "w") as member:
        save(model, member, {"offset": 29})
    memory.seek(0)
    with zipfile.ZipFile(path) as archive, archive.open("model") as member:
        loaded_models = [load(memory), load(member)]

    assert memory.getvalue() == expected_bytes
    for loaded_model, extra in loaded_models:
        assert extra == {"offset": 29}
        resaved = io.BytesIO()
        save(loaded_model, resaved, extra)
        assert resaved.getvalue() == expected_bytes


def test_text_files_and_damaged_files_are_rejected(tmp_path):
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


def test_pipeline_predicts_alike_as_live_model_and_reloaded(rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, X = train_scaled_pipeline(rng)
    save(pipeline, path)
    live = LiveModel.load(path)
    live_predictions = [live.model.predict_one(x) for x in X]
    live.save(path)
    reloaded = load(path).model

    assert (
        [pipeline.predict_one(x) for x in X]
        == live_predictions
        == [reloaded.predict_one(x) for x in X]
    )
    table = live.model.network.scaler.statistics
    assert (table[0] == 200).all()
    assert LiveModel.load(path).model.network.scaler.statistics.tobytes() == table.tobytes()


def test_model_with_a_pipeline_and_its_own_scaler_is_rejected(rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, _ = train_scaled_pipeline(rng)
    save(pipeline, path)
    steps = read_checkpoint(path)[0]["steps"]
    LiveModel.load(path).save(path)
    meta, arrays = read_checkpoint(path)
    write_checkpoint(path, meta | {"steps": steps}, arrays)

    with pytest.raises(CheckpointError, match="has both a pipeline and its own scaler"):
        load(path)


@pytest.mark.parametrize(
    ("transformer", "step"),
    [
        (preprocessing.MinMaxScaler(), "MinMaxScaler"),
        (preprocessing.StandardScaler(with_std=False), "StandardScaler(with_std=False)"),
        (
            preprocessing.StandardScaler() | preprocessing.StandardScaler(),
            "StandardScaler (twice)",
        ),
    ],
    ids=str,
)
def test_live_model_names_the_step_that_runs_only_in_python(transformer, step, tmp_path):
    path = tmp_path / "m.npz"
    pipeline = transformer | SGDPerceptron(seed=0)
    pipeline.learn_one({"a": 1.0}, "up")
    save(pipeline, path)

    assert LiveModel.load(path).python_step == step
