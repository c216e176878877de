"""Networks as functions of one vector of parameters, from triangle waves to plain ReLU layers."""
