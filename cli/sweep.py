"""stream-perceptron sweep."""

from __future__ import annotations

from .command import Options, command
from .options import (
    ACTIVATION,
    NUMBER,
    RATE,
    check_training_options,
    make_list_type,
    model_option,
    standardize_option,
    training_options,
)


@command(short_help="Compare many settings in one pass over a stream.")
@training_options
@standardize_option
@model_option(
    "--lr", metavar="A,B:C,...", type=make_list_type(RATE),
    help="Learning rates: numbers, or B:C for one that falls from B to C. Default: the default of "
    "learn, 0.01, 0.03, 0.1 and 0.3.",
)  # fmt: skip
@model_option(
    "--epsilon", metavar="A,B,...", type=make_list_type(NUMBER), default="3e-6", show_default=True,
    help="Error thresholds: a sample whose error is smaller leaves the weights unchanged.",
)  # fmt: skip
@model_option(
    "--init-range", metavar="A,B,...", type=make_list_type(NUMBER), default="0.03",
    show_default=True, help="Largest absolute values of the random initial weights.",
)  # fmt: skip
@model_option(
    "--activation", metavar="A,B,...", type=make_list_type(ACTIVATION), default="sigmoid",
    show_default=True, help="Activation functions: sigmoid, tanh, arctan or identity.",
)  # fmt: skip
def sweep(options: Options) -> None:
    """Compare all combinations of some settings, in one pass over a stream. SOURCE is as for
    `learn`. Each combination trains its own model, with the same result as a separate run of
    `learn`; no model is saved.

    The best combination is printed first. Settings are ranked by accuracy or, if one of k classes
    has more than 1.5/k of the samples, by kappa. "updated" is the share of samples that changed the
    weights. "would stop" is the first sample whose error was below epsilon; `learn --stop` stops
    there.

    \b
    stream-perceptron sweep mnist-train.parquet
    stream-perceptron sweep mnist-train.parquet --lr 0.01,0.1 --epsilon 3e-6,0.03
    cat iris.csv | stream-perceptron sweep --lr 0.1,1 --activation sigmoid,tanh
    """
    check_training_options(options)
    from .trials import SweepRun

    SweepRun(options).run()
