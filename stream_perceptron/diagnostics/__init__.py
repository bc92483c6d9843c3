"""Diagnosis of models, the HTML report, and checks of update rules."""

from stream_perceptron.diagnostics.model_diagnosis import diagnose
from stream_perceptron.diagnostics.report import render_report
from stream_perceptron.diagnostics.update_check import check_update
from stream_perceptron.diagnostics.worked_sample import work_sample
from stream_perceptron.live.findings import Finding, FindingCode

__all__ = ["Finding", "FindingCode", "check_update", "diagnose", "render_report", "work_sample"]
