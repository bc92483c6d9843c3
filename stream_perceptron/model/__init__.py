"""The delta rule and the state of a model, independent of files."""

try:
    from stream_perceptron.model.activations import ACTIVATIONS, Activation, get_activation
    from stream_perceptron.model.network import Network
    from stream_perceptron.model.rows import FeatureRows
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("stream_perceptron."):
        raise
    raise ImportError(
        "stream_perceptron lacks its compiled modules: leave the folder of its source, or install "
        "it again with a C compiler (pip install --editable .)"
    ) from None

__all__ = ["ACTIVATIONS", "Activation", "FeatureRows", "Network", "get_activation"]
