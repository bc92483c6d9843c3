"""Diagnosis of models, the HTML report, and a check for update rules."""

from stream_perceptron.diagnostics.diagnosis import Finding
from stream_perceptron.diagnostics.model_diagnosis import diagnose
from stream_perceptron.diagnostics.update_check import check_update

__all__ = ["Finding", "check_update", "diagnose"]
