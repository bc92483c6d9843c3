"""River pipelines are saved with their learned state, to paths and to open files."""

from __future__ import annotations

import functools
import io
import itertools
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

    assert predict_and_learn(restored) == predict_and_learn(original)
    for path, model in (("a.npz", original), ("b.npz", restored)):
        save(model, tmp_path / path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: compose.FuncTransformer(dict),
            "FuncTransformer cannot be saved: use plain data, or one of BagOfWords,",
        ),
        (lambda: NUMBERS + preprocessing.RobustScaler(), "RobustScaler cannot be saved"),
        (lambda: preprocessing.MinMaxScaler(window_size=9), "partial cannot be saved"),
        (lambda: preprocessing.StatImputer(("a", stats.Quantile())), "Quantile cannot be saved"),
        (lambda: feature_extraction.BagOfWords(tokenizer=len), "builtin_function_or_method cannot"),
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
    step = {"object": {"objects": ["compose.Select", ["keys"], [[{"set": ["a"]}]]]}}
    for _ in range(40):
        steps = [{"dict": [["u"], [step]]}]
        step = {"object": {"objects": ["compose.TransformerUnion", ["transformers"], [steps]]}}
    path = forge_checkpoint(tmp_path, steps={"dict": [["u", "SGDPerceptron"], [step, None]]})
    assert len(load(path).model.steps) == 2


def forge_object(name, **attributes):
    return {
        "object": {"objects": [name, [*attributes], [[value] for value in attributes.values()]]}
    }


FORGED = {
    "a class": forge_object("os.system"),
    "a class for a function": {"defaultdict": [{"class": "os.system"}, {"dict": [[], []]}]},
    "a number beyond its type": {"numpy": ["int8", 300]},
    "a number of an unsupported type": {"numpy": ["object", 3]},
    "attributes of different lengths": {
        "object": {"objects": ["stats.Mean", ["n", "_mean"], [[1, 2], [0.5]]]}
    },
    "a parameter of the wrong type": forge_object(
        "preprocessing.FeatureHasher", n_features=2, seed="seed", alternate_sign=True
    ),
    "a missing parameter": forge_object("compose.Prefixer"),
    "an unhashable key": {"dict": [[[]], [1]]},
    "an unknown tag": {"frozenset": [1]},
    "an empty object": {},
    "deep lists": functools.reduce(lambda value, _: [value], range(700), 0),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_steps_are_rejected(name, tmp_path):
    path = forge_checkpoint(
        tmp_path, steps={"dict": [["a", "SGDPerceptron"], [FORGED[name], None]]}
    )
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
