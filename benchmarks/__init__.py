"""Benchmarks: accuracy and speed of the estimators beside their peers."""
