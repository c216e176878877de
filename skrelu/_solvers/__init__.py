"""Losses, and solvers that minimise them for any network."""
