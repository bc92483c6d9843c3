"""Diagnosis of models, the HTML report, and a check for update rules."""

from stream_perceptron.diagnostics.model_diagnosis import diagnose
from stream_perceptron.diagnostics.update_check import check_update
from stream_perceptron.live.findings import Finding, FindingCode

__all__ = ["Finding", "FindingCode", "check_update", "diagnose"]
