"""A fit as a function on arrays: pretraining, refinement, starts and their average."""
