"""River pipelines are saved with their learned state, to paths and to open files."""

from __future__ import annotations

import enum
import functools
import io
import json

import numpy as np
import pytest
from helpers import STATED_REASON
from river import compose, feature_extraction, preprocessing, stats
from river.optim import schedulers
from river_pipelines import NUMBERS, STEPS, draw_samples

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint
from stream_perceptron.checkpoint.objects import decode, encode


@pytest.mark.parametrize("name", STEPS)
def test_loaded_pipeline_continues_identically(name, tmp_path):
    original, samples = STEPS[name]() | SGDPerceptron(0.1, seed=0), list(draw_samples(600))
    for x, y in samples[:300]:
        original.learn_one(x, y)
    save(original, tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz").model
    for x, y in samples[300:]:
        assert loaded.predict_proba_one(x) == original.predict_proba_one(x)
        loaded.learn_one(x, y)
        original.learn_one(x, y)
    save(original, tmp_path / "a.npz")
    save(loaded, tmp_path / "b.npz")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def train_encoder(encoder, *values):
    """Return an encoder that has learned values of a column."""
    for value in values:
        encoder.learn_one({"a": value})
    return encoder


class Colour(enum.IntEnum):
    RED = 1


class Halving(schedulers.Constant):
    """A schedule whose code no checkpoint contains."""


class Subclass(SGDPerceptron):
    """A perceptron whose code no checkpoint contains."""


def add_model(transformer):
    return transformer | SGDPerceptron()


UNSUPPORTED = [
    (lambda: add_model(compose.FuncTransformer(dict)),
     "FuncTransformer cannot be saved: use plain data, or one of BagOfWords,"),
    (lambda: add_model(NUMBERS + preprocessing.RobustScaler()), "RobustScaler cannot be saved"),
    (lambda: add_model(preprocessing.MinMaxScaler(window_size=9)), "partial cannot be saved"),
    (lambda: add_model(preprocessing.StatImputer(("a", stats.Quantile()))), "Quantile cannot be"),
    (lambda: add_model(feature_extraction.BagOfWords(tokenizer=len)), "builtin_function_or_method"),
    (lambda: add_model(train_encoder(preprocessing.OrdinalEncoder(), np.datetime64("2020-01-01"))),
     "cannot be saved"),
    (lambda: SGDPerceptron(classes=[frozenset("a")]), "frozenset cannot be saved"),
    (lambda: SGDPerceptron(classes=[Colour.RED]), "Colour cannot be saved"),
    (lambda: SGDPerceptron(Halving(0.1)), "Halving cannot be saved as lr"),
    (lambda: compose.Pipeline(preprocessing.StandardScaler()), "end with an SGDPerceptron"),
    (lambda: Subclass(seed=0), "Subclass cannot be saved: use SGDPerceptron itself"),
    (lambda: preprocessing.StandardScaler() | Subclass(), "Subclass cannot be saved: use SGDPer"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), UNSUPPORTED)
def test_unsupported_model_is_rejected_and_nothing_is_written(make, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        save(make(), tmp_path / "m.npz")
    assert not (tmp_path / "m.npz").exists()


UNUSUAL_VALUES = {
    "types": (int, str, float),
    "nothing": (None, "", 0, False),
    "lone surrogates": ("\ud800", "a"),
    "large numbers": (2**80, -(2**70), 1e308, -0.0),
    "tuples": ((1, "a"), ((), 2.5)),
}


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
    for kind in (np.float32, np.float64, np.float16):
        original = preprocessing.StandardScaler() | SGDPerceptron(0.1, seed=0)
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


def test_names_of_selected_columns_keep_their_order():
    """River yields features in the order of a set, which depends on how the set was made."""
    selects = [compose.Select(f"a{i}", f"b{i}") for i in range(500)]
    loaded = decode(json.loads(json.dumps(encode(selects))))

    assert [list(select.keys) for select in loaded] == [list(select.keys) for select in selects]


def forge_checkpoint(tmp_path, **changes):
    """Write a perceptron with forged steps; return the path of the checkpoint."""
    path = tmp_path / "forged.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
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
    "an unlisted class": forge_object("compose.FuncTransformer"),
    "a path to a class": forge_object("preprocessing.scale.MinMaxScaler"),
    "an unlisted statistic": forge_object("stats.Quantile"),
    "a class for a function": {"defaultdict": [{"class": "os.system"}, {"dict": [[], []]}]},
    "a missing parameter": forge_object("compose.Prefixer"),
    "an unhashable key": {"dict": [[[]], [1]]},
    "deep lists": functools.reduce(lambda value, _: [value], range(700), 0),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_steps_are_rejected(name, tmp_path):
    path = forge_checkpoint(
        tmp_path, steps={"dict": [["a", "SGDPerceptron"], [FORGED[name], None]]}
    )
    with pytest.raises(CheckpointError, match=STATED_REASON):
        load(path)


def test_models_are_saved_to_open_files(tmp_path):
    model, memory, resaved = SGDPerceptron(0.1, seed=0), io.BytesIO(), io.BytesIO()
    model.learn_one({"a": 1.0}, "x")
    save(model, tmp_path / "m.npz", {"offset": 29})
    save(model, memory, {"offset": 29})
    memory.seek(0)
    loaded, extra = load(memory)
    save(loaded, resaved, extra)

    assert extra == {"offset": 29}
    assert (tmp_path / "m.npz").read_bytes() == memory.getvalue() == resaved.getvalue()


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


def train_scaler_of_another_feature():
    scaler = preprocessing.StandardScaler()
    scaler.learn_one({"other": 1.0})
    return scaler


PYTHON_STEPS = {
    "MinMaxScaler": preprocessing.MinMaxScaler,
    "StandardScaler(with_std=False)": lambda: preprocessing.StandardScaler(with_std=False),
    "StandardScaler (twice)": lambda: (
        preprocessing.StandardScaler() | preprocessing.StandardScaler()
    ),
    "StandardScaler (with feature 'other', which the model lacks)": train_scaler_of_another_feature,
    "BagOfWords": lambda: feature_extraction.BagOfWords("text"),
    "Binarizer": lambda: preprocessing.StandardScaler() | preprocessing.Binarizer(),
}


@pytest.mark.parametrize("step", PYTHON_STEPS)
def test_live_model_names_the_step_that_runs_only_in_python(step, tmp_path):
    path = tmp_path / "m.npz"
    pipeline = PYTHON_STEPS[step]() | SGDPerceptron(seed=0)
    pipeline.learn_one({"a": 1.0} | ({"text": "x"} if step == "BagOfWords" else {}), "up")
    save(pipeline, path)

    assert LiveModel.load(path).python_step == step
