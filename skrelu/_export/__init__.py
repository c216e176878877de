"""Networks as graphs of neurons, and other programs' forms of them."""
