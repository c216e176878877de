"""Smooth functions of one to ten inputs, by skrelu and by its peers."""
