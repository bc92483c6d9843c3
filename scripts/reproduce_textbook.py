"""Reproduce, on all of MNIST, the experiment that this project began with.

A learner's perceptron did not learn with any epsilon or learning rate. This script shows the three
reasons one by one, how epsilon determines when training stops, the four activations, and one pass
over the samples in order, in which epsilon filters samples instead of stopping the training.

    scripts/reproduce_textbook.py [--seeds N] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stream_perceptron import SGDPerceptron
from stream_perceptron.datasets import mnist

DATA = Path(__file__).parent.parent / "data"
EPSILONS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
FILTERS = (0.0, 3e-6, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
# A suitable lr for each activation; identity needs small steps, because its outputs are unbounded.
LEARNING_RATES = {"sigmoid": 0.1, "tanh": 0.005, "arctan": 0.005, "identity": 0.001}
BLOCK = 500


def load_mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels in [0, 1], shape (n, 784), and labels."""
    path = DATA / f"mnist-{part}.parquet"
    if not path.exists():
        mnist.fetch("mnist", DATA)
    table = pq.read_table(path)
    pixels = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    return pixels.reshape(-1, 784) / 255, table["label"].to_numpy()


def compute_accuracy(
    weights: np.ndarray, biases: np.ndarray, X: np.ndarray, labels: np.ndarray
) -> float:
    """Return the share of rows whose largest net input is that of their label."""
    return float(((X @ weights.T + biases).argmax(axis=1) == labels).mean())


def evaluate(model: SGDPerceptron, test: tuple[np.ndarray, np.ndarray]) -> float:
    return compute_accuracy(model.weights, model.biases, *test)


def train_until_stop(model, train, draws, position=0) -> int:
    """Train on the rows `draws[position:]`; return the number of draws up to the stop."""
    X, labels = train
    while position < len(draws):
        rows = draws[position : position + BLOCK]
        position += len(model.test_then_train(X[rows], labels[rows], stop=True))
        if model.last_error < model.epsilon:
            return position
    raise RuntimeError(f"no sample had an error below {model.epsilon} in {len(draws):,} draws")


def train_with_one_delta(
    train, draws, lr: float
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Train as the learner's program did: all outputs share one delta, an inner product."""
    X, labels = train
    rng = np.random.default_rng(0)
    w, b = rng.uniform(-0.03, 0.03, (10, X.shape[1])), rng.uniform(-0.03, 0.03, 10)
    for x, label in zip(X[draws], labels[draws], strict=True):
        net = w @ x + b
        y = 1 / (1 + np.exp(-net))
        error = (np.arange(10) == label) - y
        delta = error @ (y * (1 - y))
        w += lr * delta * x
        b += lr * delta
    return w, b, float(error @ error / 2), net


def show_reasons(train, test, seeds: int) -> None:
    print("Why the first program did not learn\n")
    rows = np.random.default_rng(0).integers(0, len(train[1]), 40_000)
    w, b, error, net = train_with_one_delta(train, rows, lr=0.05)
    right = SGDPerceptron(lr=0.05, classes=range(10), seed=0)
    right.test_then_train(train[0][rows], train[1][rows])
    print(
        f"1. One delta for all outputs: after 40,000 draws at lr 0.05, all outputs are alike (nets "
        f"{net.min():.2f} to\n   {net.max():.2f}), the error is {error:.2f}, and test accuracy is "
        f"{compute_accuracy(w, b, *test):.1%}. With one delta for each output: "
        f"{evaluate(right, test):.1%}."
    )
    wrong_pairs = compute_accuracy(right.weights, right.biases, train[0][:10_000], test[1])
    print(
        f"2. Training images scored against test labels: {wrong_pairs:.1%}, whatever the model "
        f"learned. The same model on\n   test images: {evaluate(right, test):.1%}."
    )
    stops, accuracies = [], []
    for seed in range(seeds):
        model = SGDPerceptron(lr=0.05, epsilon=0.01, classes=range(10), seed=seed)
        draws = np.random.default_rng(seed).integers(0, len(train[1]), 100_000)
        stops.append(train_until_stop(model, train, draws))
        accuracies.append(evaluate(model, test))
    print(
        f"3. Epsilon 0.01 at lr 0.05 stops too early: after {statistics.median(stops):,.0f} "
        f"draws, at a test accuracy of\n   {statistics.median(accuracies):.1%} (medians of {seeds} "
        f"seeds; ranges: {min(stops):,} to {max(stops):,} draws, {min(accuracies):.1%} to "
        f"{max(accuracies):.1%}).\n"
    )


def measure_stops(train, test, seeds: int) -> dict[float, list[tuple[int, float]]]:
    """Return the number of draws until the stop and the test accuracy for every epsilon and seed.

    A run does not depend on epsilon until it stops, so one run per seed continues from each stop
    with the next epsilon.
    """
    results: dict[float, list[tuple[int, float]]] = {epsilon: [] for epsilon in EPSILONS}
    for seed in range(seeds):
        draws = np.random.default_rng(seed).integers(0, len(train[1]), 200_000)
        model = SGDPerceptron(lr=0.01, classes=range(10), seed=seed)
        stop = 1
        for epsilon in EPSILONS:
            model.mutate({"epsilon": epsilon})
            # The draw at the last stop was not learned, so try it again.
            stop = train_until_stop(model, train, draws, stop - 1)
            results[epsilon].append((stop, evaluate(model, test)))
    return results


def show_stops(results: dict[float, list[tuple[int, float]]]) -> None:
    seeds = len(results[EPSILONS[0]])
    print(f"Random draws until error < epsilon, lr 0.01, {seeds} seeds\n")
    print(
        "| epsilon | draws: median | minimum | maximum "
        "| test accuracy: median | minimum | maximum |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for epsilon, runs in results.items():
        draws, accuracies = zip(*runs, strict=True)
        print(
            f"| {epsilon:g} | {statistics.median(draws):,.0f} | {min(draws):,} | {max(draws):,} "
            f"| {statistics.median(accuracies):.1%} | {min(accuracies):.1%} "
            f"| {max(accuracies):.1%} |"
        )
    print()


def train_one_pass(train, **parameters) -> tuple[SGDPerceptron, float]:
    """Return the model after all rows in order, and its progressive accuracy."""
    model = SGDPerceptron(classes=range(10), seed=0, **parameters)
    right = 0
    for start in range(0, len(train[1]), BLOCK):
        X, labels = train[0][start : start + BLOCK], train[1][start : start + BLOCK]
        right += int((np.array(model.test_then_train(X, labels)) == labels).sum())
    return model, right / len(train[1])


def show_activations(train, test) -> None:
    print("The four activations, one pass in order\n")
    print("| activation | lr | progressive accuracy | test accuracy |")
    print("| --- | ---: | ---: | ---: |")
    for activation, lr in LEARNING_RATES.items():
        model, progressive = train_one_pass(train, activation=activation, lr=lr)
        print(f"| {activation} | {lr:g} | {progressive:.1%} | {evaluate(model, test):.1%} |")
    print()


def show_filters(train, test) -> list[tuple[float, float, float]]:
    print("Epsilon as a filter, one pass in order, sigmoid, lr 0.1\n")
    print("| epsilon | samples skipped | progressive accuracy | test accuracy |")
    print("| ---: | ---: | ---: | ---: |")
    rows = []
    for epsilon in FILTERS:
        model, progressive = train_one_pass(train, lr=0.1, epsilon=epsilon)
        skipped = 1 - model.n_updates / model.n_seen
        rows.append((epsilon, skipped, progressive))
        print(f"| {epsilon:g} | {skipped:.1%} | {progressive:.1%} | {evaluate(model, test):.1%} |")
    print()
    return rows


def plot(path: str, stops, filters) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    draws = np.array([[run[0] for run in runs] for runs in stops.values()])
    scores = np.array([[run[1] for run in runs] for runs in stops.values()]) * 100
    for axes, values, label in (
        (left, draws, "draws until the stop"),
        (middle, scores, "test accuracy, %"),
    ):
        axes.fill_between(EPSILONS, values.min(axis=1), values.max(axis=1), alpha=0.25, lw=0)
        axes.plot(EPSILONS, np.median(values, axis=1), marker="o")
        axes.set(xscale="log", xlabel="epsilon", ylabel=label)
        axes.invert_xaxis()
        axes.grid(alpha=0.3)
    left.set(yscale="log", title="With a small epsilon, training takes longer ...")
    middle.set(title="... and ends better (median, minimum, maximum)")
    nonzero = [row for row in filters if row[0]]
    epsilons = [row[0] for row in nonzero]
    right.plot(
        epsilons, [row[2] * 100 for row in nonzero], marker="o", label="progressive accuracy, %"
    )
    right.plot(epsilons, [row[1] * 100 for row in nonzero], marker="s", label="samples skipped, %")
    right.set(xscale="log", xlabel="epsilon", title="One pass in order, lr 0.1")
    right.legend()
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=40, help="number of seeds for the epsilons")
    parser.add_argument("--plot", metavar="FILE.png", help="plot the tables (needs matplotlib)")
    options = parser.parse_args()
    start = time.perf_counter()
    train, test = load_mnist("train"), load_mnist("test")
    show_reasons(train, test, options.seeds)
    stops = measure_stops(train, test, options.seeds)
    show_stops(stops)
    show_activations(train, test)
    filters = show_filters(train, test)
    if options.plot:
        plot(options.plot, stops, filters)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
