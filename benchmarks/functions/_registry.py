"""All functions by name, a group after the other."""

from benchmarks.functions._classics import FRIEDMAN, ONE_INPUT, SEVERAL_INPUTS, TWO_INPUTS
from benchmarks.functions._feynman import FEYNMAN
from benchmarks.functions._special import SPECIAL

FUNCTIONS = {
    function.name: function
    for function in (*FRIEDMAN, *FEYNMAN, *SPECIAL, *ONE_INPUT, *TWO_INPUTS, *SEVERAL_INPUTS)
}
