"""The delta rule as a River classifier, `SGDPerceptron`."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from river import base

from stream_perceptron.errors import DivergedError, SampleError
from stream_perceptron.model import defaults, frames, kernel, validation
from stream_perceptron.model.activations import get_activation
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.class_weights import ClassWeights, require_class_weight
from stream_perceptron.model.network import Network
from stream_perceptron.model.rates import FallingRate, LearningRate
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import FeatureRows, Samples, as_samples
from stream_perceptron.model.weights import WeightStore

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries

Labels: TypeAlias = "IntoSeries | Sequence[Hashable] | Array"

_DEFAULT_OPTIONS = TrainOptions()


class SGDPerceptron(base.MiniBatchClassifier):
    """Single-layer perceptron, trained by stochastic gradient descent with an error threshold.

    For a sample $x$ with $x_0 = 1$, output $j$ is $y_j = f(net_j)$ with $net_j = \\sum_i w_{ij}
    x_i$, and its target $d_j$ is the activation's high value for the sample's label and the low
    value for all other labels. The error of the sample is $E = \\frac{1}{2} \\sum_j (d_j - y_j)^2$.
    If $E < epsilon$, the sample already fits and leaves the weights unchanged. Otherwise, the
    generalized delta rule[^1] applies, $w_{ij} \\leftarrow w_{ij} + lr \\, \\delta_j x_i$ with
    $\\delta_j = (d_j - y_j) f'(net_j)$: one delta for each output.

    `river.linear_model.Perceptron` is a different model: Rosenblatt's rule for two classes.

    New features and labels may appear at any time. An absent feature counts as 0. Learning from a
    sample takes time proportional to the number of its nonzero features.

    The attributes `lr`, `epsilon` and `max_weights` may be changed at any time.

    Parameters
    ----------
    lr
        The learning rate: a number, a `FallingRate`, or a River scheduler, which is called with the
        number of updates so far. With None, the default of the activation: `FallingRate()` for
        sigmoid, and 0.01 for the others. The rate in use is available as `lr_`.
    epsilon
        The error threshold: a sample with a smaller error leaves the weights unchanged. The scale
        of epsilon depends on the activation: tanh with (lr, epsilon, init_range) is equivalent to
        sigmoid with (16 lr, epsilon / 4, 2 init_range).
    activation
        The activation function and its targets: sigmoid (0 and 1), tanh (-1 and 1), arctan (-pi/2
        and pi/2) or identity (0 and 1).
    init_range
        The weights and biases of all labels and features known when the model learns from its first
        sample are drawn uniformly between -init_range and init_range; each depends only on the
        seed, the index of the label and the name of the feature. The weights and biases of labels
        and features added later start at 0.
    classes
        Labels known from the start, in this order. Other labels are added when they first occur.
    seed
        A whole number from 0 to 2^64 - 1. With None, a random seed is drawn, which is available as
        `seed_`.
    max_weights
        The maximum size of the model: the number of its weights, plus 32 for each label and each
        feature. When the weights are counted, the number of classes is rounded up to 2, 4 or a
        multiple of 8. Features that do not fit are ignored, after one warning; a sample whose label
        does not fit is rejected.
    class_weight
        Factors by which sample weights are multiplied. A dict maps labels, or their string forms,
        to factors; the factor for all other labels is 1. "balanced" means n / (k * n_class), but at
        most 100, where n is the number of labeled samples so far, including the current one,
        n_class the number of these samples with the current sample's label, and k the number of
        different labels among them.

    Attributes
    ----------
    n_seen : int
        The number of labeled samples seen.
    n_updates : int
        The number of samples that changed the weights.
    last_error : float
        The error of the last labeled sample; NaN before the first.
    classes_ : list
        The labels known so far. In a tie, the earliest label is predicted.
    features_ : list
        The features known so far, in the order of the weights' columns.
    weights : numpy.ndarray
        The weights, shape (len(classes_), len(features_)): a read-only view, stored feature by
        feature. It shows later updates until a label or feature is added.
    biases : numpy.ndarray
        The weights of $x_0$, shape (len(classes_),): a view like `weights`.
    seed_ : int
        The seed in use.
    lr_ : float, FallingRate or river.optim.base.Scheduler
        The learning rate in use.
    network : stream_perceptron.model.network.Network
        The network, which holds all of this state.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `max_weights` is set below the size of the model.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from stream_perceptron import SGDPerceptron

    >>> model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    >>> evaluate.progressive_val_score(datasets.ImageSegments(), model, metrics.Accuracy())
    Accuracy: 83.63%

    References
    ----------
    [^1]: David E. Rumelhart, Geoffrey E. Hinton and Ronald J. Williams. 1986. Learning internal
    representations by error propagation. In Parallel Distributed Processing, volume 1, chapter 8.
    MIT Press.

    """

    def __init__(
        self,
        lr: LearningRate | None = None,
        epsilon: float = defaults.EPSILON,
        activation: str = defaults.ACTIVATION,
        init_range: float = defaults.INIT_RANGE,
        classes: Sequence[Hashable] | None = None,
        seed: int | None = None,
        max_weights: int = defaults.MAX_WEIGHTS,
        class_weight: Mapping[Hashable, float] | str | None = None,
    ) -> None:
        activation_function = get_activation(activation)
        self.activation = activation
        self.lr = lr
        self.epsilon = epsilon
        self.init_range = init_range
        self.classes = classes
        self.seed = seed
        self.class_weight = class_weight

        validation.require_parameters(init_range, seed, max_weights)
        store = WeightStore(seed, init_range, max_weights)
        require_class_weight(class_weight)
        class_weights = None if class_weight is None else ClassWeights(class_weight)
        self.network = Network(activation_function, store, class_weights=class_weights)
        if classes is not None:
            self.network.add_names([], validation.as_classes(classes))

    @property
    def lr(self) -> LearningRate | None:
        return self._lr

    @lr.setter
    def lr(self, value: LearningRate | None) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        rate = get_activation(self.activation).default_lr if value is None else value
        # A falling rate was checked when it was made; a schedule is checked when it is used.
        if not isinstance(rate, FallingRate) and not hasattr(rate, "get"):
            validation.require_finite_number("lr", rate, must_be_positive=True)
        self._lr, self.lr_ = value, rate

    @property
    def epsilon(self) -> float:
        return self._epsilon

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        validation.require_finite_number("epsilon", value)
        self._epsilon = value

    @property
    def seed_(self) -> int:
        return self.network.store.seed

    @property
    def max_weights(self) -> int:
        return self.network.store.max_weights

    @max_weights.setter
    def max_weights(self, value: int) -> None:
        validation.require_max_weights(value)
        self.network.store.set_max_weights(value)

    @property
    def n_seen(self) -> int:
        return self.network.n_seen

    @property
    def n_updates(self) -> int:
        return self.network.n_updates

    @property
    def last_error(self) -> float:
        return self.network.last_error

    @property
    def classes_(self) -> list[Hashable]:
        return self.network.label_names

    @property
    def features_(self) -> list[Hashable]:
        return self.network.feature_names

    @property
    def weights(self) -> Array:
        return validation.as_read_only(self.network.store.current.weights)

    @property
    def biases(self) -> Array:
        return validation.as_read_only(self.network.store.current.biases)

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _mutable_attributes(self) -> set[str]:
        return {"lr", "epsilon", "max_weights"}

    def learn_one(self, x: Mapping[Hashable, object], y: Hashable, w: float = 1.0) -> None:
        """Learn from one sample.

        Parameters
        ----------
        x
            The features: numbers and bools by name. None marks an absent feature.
        y
            The label: any hashable value that is not missing.
        w
            The sample weight, at least 0. It multiplies the learning rate.

        Raises
        ------
        SampleError
            If a feature, the label or the weight cannot be used; the model is unchanged.
        DivergedError
            If a weight or an error would become infinite or NaN; the model is unchanged.

        """
        weight = validation.as_weight(w)
        is_plain = type(y) in (str, int, bool)
        if is_plain and self.network.learn_one(x, y, weight, self.lr_, self._epsilon):
            return
        row = validation.as_row(x)
        self._learn(row, [validation.as_label(y)], weight)

    def predict_one(self, x: Mapping[Hashable, object], **kwargs: object) -> Any:
        """Return the label with the largest net input, or None if no label is known yet.

        Parameters
        ----------
        x
            The features. Unknown features are ignored.

        Raises
        ------
        SampleError
            If a known feature is not a finite number.

        """
        net = self._compute_net(x)
        return self.network.labels.names[int(net.argmax())] if len(net) else None

    def predict_proba_one(self, x: Mapping[Hashable, object], **kwargs: object) -> dict[Any, float]:
        """Return the scores of all known labels, in descending order.

        The scores are the outputs minus the activation's low value, scaled to a sum of 1.
        They are not calibrated: the perceptron is trained to separate labels.

        Parameters
        ----------
        x
            The features, as for `predict_one`.

        """
        net = self._compute_net(x)
        (row,) = kernel.compute_scores(self.network.activation, net[np.newaxis])
        scores = row.tolist()
        names = self.classes_
        return {names[j]: scores[j] for j in np.argsort(-net, kind="stable").tolist()}

    def debug_one(self, x: Mapping[Hashable, object], decimals: int = 5) -> str:
        """Return a table that explains the prediction for a sample.

        For each known feature, and the bias, the table has the value, and the weight and the
        contribution (weight times value) for the two labels with the largest net inputs. The
        features that most favor the first of them over the second come first.

        Parameters
        ----------
        x
            The features, as for `predict_one`.
        decimals
            The number of decimals shown.

        Examples
        --------
        >>> model = SGDPerceptron(lr=1.0, seed=0)
        >>> for x, y in [({"a": 1.0}, "left"), ({"a": -1.0, "b": 0.5}, "right")] * 20:
        ...     model.learn_one(x, y)
        >>> print(model.debug_one({"a": 0.5, "b": 2.0}, decimals=2))
        Name        Value   Weight left   Contribution left   Weight right   Contribution right
                a    0.50          1.78                0.89          -1.77                -0.88
        Intercept    1.00          0.06                0.06          -0.05                -0.05
                b    2.00         -0.43               -0.85           0.43                 0.86

        """
        from river.utils.pretty import print_table

        leading = np.argsort(-self._compute_net(x), kind="stable")[:2]
        ids_by_name = self.network.features.ids_by_name
        known = {name: v for name, v in x.items() if name in ids_by_name and v is not None}
        ids = self.network.features.find_ids([*known])
        numbers = self.network.standardize(ids, np.array([*known.values()], np.float64))
        values = np.append(numbers, 1.0)
        weights = np.column_stack([self.weights[leading][:, ids], self.biases[leading]])
        contributions = weights * values
        margins = contributions[0] - contributions[1] if len(leading) > 1 else contributions.sum(0)
        headers, columns = ["Name", "Value"], [values]
        for i, label_id in enumerate(leading.tolist()):
            label = self.classes_[label_id]
            headers += [f"Weight {label}", f"Contribution {label}"]
            columns += [weights[i], contributions[i]]
        cells = [[f"{number:,.{decimals}f}" for number in column] for column in columns]
        names = [*map(str, known), "Intercept"]
        table = print_table(headers, [names, *cells], np.argsort(-margins, kind="stable"))
        return "\n".join(map(str.rstrip, table.split("\n")))

    def learn_many(self, X: IntoDataFrame, y: Labels, w: object = 1.0) -> None:
        """Learn from the rows of a frame, one after another, exactly as `learn_one` would.

        Parameters
        ----------
        X
            A pandas, polars or pyarrow frame of features. A null marks an absent feature; in
            pandas, so do NaN and the fill value of a sparse column.
        y
            The labels: a series of any kind, an array, a sequence, or a frame with one column.
        w
            One sample weight for all rows, or one per row.

        Raises
        ------
        SampleError
            If a value in the frame, a label or a weight cannot be used; no row is learned.
        DivergedError
            If a weight or an error would become infinite or NaN; earlier rows have been learned.

        """
        rows = frames.read_frame(X).rows
        self._learn(rows, validation.as_labels(y, len(rows)), w)

    def predict_many(self, X: IntoDataFrame) -> Any:
        """Return the predicted label of every row of a frame, as a series from the same library."""
        from river.utils import dataframe

        nets, frame = self._compute_nets(X)
        predicted = nets.argmax(axis=1) if nets.size else np.full(len(nets), -1)
        return dataframe.to_native_series(
            validation.find_labels_by_id(predicted, self.classes_), name=None, like=frame
        )

    def predict_proba_many(self, X: IntoDataFrame) -> Any:
        """Return the score of every label for every row, as a frame from the same library."""
        from river.utils import dataframe

        nets, frame = self._compute_nets(X)
        scores = kernel.compute_scores(self.network.activation, nets)
        columns = dict(zip(self.classes_, scores.T, strict=True))
        return dataframe.to_native_frame(columns, like=frame)

    def test_then_train(
        self,
        X: object,
        labels: Labels,
        features: Sequence[Hashable] | None = None,
        stop: bool = False,
        w: object = 1.0,
    ) -> list[Hashable]:
        """Predict and then learn each row of an array or frame, with one forward pass per row.

        The resulting weights are bit-identical to those of `learn_one`.

        Parameters
        ----------
        X
            Features, shape (n, d): an array, a masked array, a SciPy sparse matrix, or a frame.
            Values that are masked, missing or not stored in a sparse matrix mark absent features.
        labels
            Labels, length n.
        features
            The names of the columns. None means a frame's own names, or 0 to d - 1 for an array, as
            in `river.stream.iter_array`.
        stop
            End at the first sample with an error below epsilon, as in the textbook algorithm.
        w
            One sample weight for all rows, or one per row.

        Returns
        -------
        The prediction made for each row before it was learned; None if no label was known. With
        `stop`, the last prediction is the one for the row that ended training.

        Raises
        ------
        SampleError
            If a feature, label or weight cannot be used; no row is learned.
        DivergedError
            If a weight or an error would become infinite or NaN; earlier rows have been learned.

        Examples
        --------
        >>> import numpy as np
        >>> from stream_perceptron import SGDPerceptron

        >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
        >>> X = np.array([[1.0, 0.0], [0.0, 1.0]] * 3)
        >>> model.test_then_train(X, ["left", "right"] * 3)
        ['right', 'left', 'left', 'right', 'left', 'right']

        """
        rows = frames.as_rows(X, features)
        result = self._learn(rows, validation.as_labels(labels, len(rows)), w, stop)
        return validation.find_labels_by_id(result.predicted, self.classes_)

    def train(self, samples: Samples, options: TrainOptions = _DEFAULT_OPTIONS) -> TrainResult:
        """Predict and then learn from samples, and return the result for each.

        If a row would make a weight or an error infinite or NaN, or the model too large, the result
        ends before that row, with `diverged` or `memory_error` set; no exception is raised. If
        memory runs out, no row is learned, and the result is empty. Labels in the result are
        indices into `classes_`.
        """
        return self.network.train(samples, self.lr_, self._epsilon, options)

    def _learn(
        self, rows: FeatureRows, labels: list[Hashable], w: object, stop: bool = False
    ) -> TrainResult:
        """Learn rows in order; raise an error if the model would diverge or memory runs out."""
        validation.require_labels(labels)
        samples = as_samples(rows, labels, validation.as_weights(w, len(rows)))
        was_full = self.network.is_full
        result = self.train(samples, TrainOptions(stop))
        if self.network.is_full and not was_full:
            warnings.warn(
                "the model is full: new features are ignored; raise max_weights to learn them",
                stacklevel=4,
            )
        if result.diverged:
            raise DivergedError(self.n_seen + 1)
        if result.memory_error is not None:
            raise result.memory_error
        return result

    def _compute_net(self, x: Mapping[Hashable, object]) -> Array:
        """Return the net inputs of a sample, shape (k,)."""
        net = self.network.compute_net_inputs_one(x)
        if net is not None:
            return net
        validation.require_dict(x)
        try:
            row = validation.as_row(x)
        except SampleError:
            # A scaler returns NaN for a feature that it has not seen. The model has not seen the
            # feature either, so it can be ignored.
            x = {name: x[name] for name in x if name in self.network.features.ids_by_name}
            row = validation.as_row(x)
        return np.asarray(self.network.compute_net_inputs(row)[0])

    def _compute_nets(self, X: IntoDataFrame) -> tuple[Array, nw.DataFrame[Any]]:
        """Return the net inputs (n, k) of the rows of a frame, and the frame."""
        frame = frames.read_frame(X, self.network.features.ids_by_name.__contains__)
        return self.network.compute_net_inputs(frame.rows), frame.like
