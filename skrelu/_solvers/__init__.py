"""Losses, least squares and steps of descent on any of the networks."""
