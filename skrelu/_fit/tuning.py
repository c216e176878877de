"""The chosen numbers of a fit: value, unit, reason and what was measured.

``python -m benchmarks.tuning NAME VALUE ...`` measures other values of a number: it fits the tables
that defaults are chosen on, and prints losses and CPU seconds. A number without a measurement rests
on experience. Numbers that guard against rounding stay where they are used.

Below, *work* is a number of multiplications an iteration. A *loss* or *error* is relative to the
loss of the best constant: for squared errors it is the unexplained variance as a fraction.
"""

from typing import NamedTuple

# --- sizes -----------------------------------------------------------------------------------

# Default of ``alpha``. Ridges chosen by left-out rows are multiplied by ``alpha / DEFAULT_ALPHA``.
DEFAULT_ALPHA = 0.5
# Default layers of a sub-network.
DEPTH = 4
# Largest default number of starts. Fewer starts cost accuracy, more of them time.
MOST_STARTS = 12
# Work of one start above which the number of starts falls, with the square root of the work.
STARTS_WORK = 1.5e8
# Smallest default number of starts of a classifier: single networks are overconfident.
FEWEST_STARTS_OF_CLASSES = 3
# Factor on the default number of sub-networks with a shape, because each of them can do less.
SHAPED = 2
# Free peaks of a sub-network if much noise is expected: as accurate as all peaks, in less time.
NOISY_PEAKS = 2
# Fewest rows of which some are held out: with fewer, too few would be left to train.
MIN_ROWS_TO_HOLD_OUT = 20
# Most numbers (8 bytes each) in the networks of all starts: 1.6 GB.
MOST_NUMBERS = 2e8
# Copies of a chunk of columns in memory at once.
HELD_AT_ONCE = 4

# --- pretraining -----------------------------------------------------------------------------

# Use Adam above this work of all starts (about 10 s).
LM_WORK = 3e11
# Use Adam above this number of matrix entries (about 2 GB).
LM_NUMBERS = 2e8
# `LM_WORK` for classes: Adam predicts as well there, in less time (churn).
LM_WORK_OF_CLASSES = 3e10
# Random sub-networks drawn for each start. Choosing the best draw costs one evaluation and avoids
# the worst local minima.
N_SCREENED = 64
# Most matrix entries of all draws.
MOST_SCREENED = 1e7
# (fraction, iterations): without held-out rows and before a refinement, end pretraining if the loss
# falls by less than this fraction over so many iterations. Longer pretraining gained nothing.
EARLY_END = (0.1, 10)
# `EARLY_END` for classes. With 0.1 one of ten fits of spirals ended on a plateau; 0.02 over 20
# iterations takes twice as long and gains nothing.
EARLY_END_OF_CLASSES = (0.03, 10)
# (fraction, iterations): the same for held-out losses if much noise is expected, in single
# precision. Adam then takes 0.6 of the time, at 1.007 of the log-loss (30 000 rows, 20 features,
# 10 classes).
NOISY_END = (1e-3, 8)
# Smallest ``tol`` with a shape: steps limited by bounds are many and small.
SHAPED_TOL = 0.03
# Adam's learning rate for batches of `LEAST_BATCH` rows. It grows in proportion to the batch size
# (Goyal et al., "Accurate, large minibatch SGD", 2017, https://arxiv.org/abs/1706.02677).
LEARNING_RATE = 1e-3
# Smallest default batch, in rows.
LEAST_BATCH = 200
# Batch size in rows above which the learning rate grows no more.
MOST_BATCH = 1000

# --- refinement ------------------------------------------------------------------------------

# Default time of a refinement, in seconds on one core.
REFINEMENT_SECONDS = 1.5
# Seconds of an iteration, besides those that grow with its work.
SECONDS_AN_ITERATION = 2e-3
# Seconds of a multiplication if several dampings are tried.
SECONDS_TRYING = 1.25e-10
# Seconds of a multiplication if one damping is tried.
SECONDS_NOT_TRYING = 4e-11
# Fewest iterations by default: if there is time for fewer, nothing is refined.
MIN_REFINEMENT = 5
# Most iterations by default.
MAX_REFINEMENT = 500
# Try several dampings at once below this work.
TRYING_WORK = 5e8
# These dampings, as multiples of the last good one.
REFINEMENT_TRIALS = (0.01, 0.1, 1.0, 10.0)
# Fewest iterations of a refinement that begins in the limit of infinite depth.
MIN_ITER_IN_LIMIT = 50
# Fewest iterations at full depth, from which the iterations of less deep networks in the limit are
# counted by their time: at depth 10 there are 40 of each, not 4 (exp: MSE 2e-11 for 8e-11).
MIN_ITER_OF_DEEP = 20
# Most branches of all starts in the limit. There are fewer if a branch would have fewer than twice
# `MIN_ITER_IN_LIMIT` iterations.
MOST_BRANCHES = 4
# Last layers that replace the parabola at once when the limit is left. More of them leave errors
# of the first layers that they cannot repair (5 or 6 at depth 8: twice the median error or more);
# fewer take longer and gained little.
UNFOLDED_LAYERS = 3
# Most iterations of each fit in the limit: it has few weights, and more iterations gain little.
LIMIT_ITER = 40
# Iterations at full depth before the best branch of each start is chosen.
BRANCH_ITER = 40
# Fewest layers of networks that grow from shallower ones, and layers up to which they are fitted;
# later ones only unfold parabolas. With 12 in place of 10, with fewer branches in the same time,
# errors at depth 12 were no lower.
GROWN_FROM, GROWN_TO = 8, 10
# Most rows of fits in the limit, and of refinements, on the way. Networks of more linear regions
# than such rows are not refined: they could interpolate rows and be wrong between them (x^2: MSE
# 4e-16 for 1e-20).
GROWING_ROWS = (1024, 2048)
# Iterations of each refinement on the way.
GROWN_ITER = 25
# Random neurons of which the best is added with each layer. With one, errors at depth 12 are 4
# times as large (exp), 2 times (tanh) and 10 times (x^3).
GROWN_CANDIDATES = 128
# Most work of an iteration with all these layers (one sub-network with one start).
GROWN_WORK = 1.5e8
# Most rows of such fits: all are read once a layer.
GROWN_ALL_ROWS = 20_000
# Held-out loss after pretraining above which nothing is refined: refinement did not improve
# predictions (boston, auto_mpg, diabetes), at 5 to 10 times the time.
REFINED_NOISE = 0.01

# --- composed sub-networks -------------------------------------------------------------------

# Fewest rows for which they are tried.
MIN_ROWS_COMPOSED = 50
# Default number of levels.
N_LEVELS = 6
# Levels for classes, in the average with encoded columns. On tables they are as good as one level
# (spam7: log-loss .310 for .309, at two thirds of the time), and far better where products of
# features tell classes apart. Other losses gained nothing (1.01 with 2 and with 4 levels, 26 pairs
# of loss and table).
N_LEVELS_OF_CLASSES = 2
# Fewest rows for that: held-out ones of smaller tables choose badly. With it the ratio is 0.993.
MIN_ROWS_COMPOSED_CLASSES = 1000
# Most sub-networks a level by default, with at most one weight for two rows (or for one row, with
# one sub-network a level). More are more accurate, and slower.
MOST_COMPOSED = 4
# Most weights of a network by default: the time of an iteration grows with their third power. With
# one to four features these are four sub-networks a level. With these and later ends errors without
# noise are 0.33 times those before on the 17 functions of 1000 rows that chose them, and
# 0.72 times on 45 others (geometric means), in 1.2 times the time on all.
MOST_WEIGHTS = 400
# Both for classes.
MOST_OF_CLASSES = (3, 500)
# The same with one sub-network a level.
MOST_WEIGHTS_OF_ONE = 1000
# Default number of starts.
COMPOSED_STARTS = 6
# Iterations after which the best start goes on alone.
SCREENING_ITER = 12
# Most training rows.
COMPOSED_ROWS = 20_000
# Work of one start above which random rows are fitted before all rows.
COMPOSED_WORK = 3e8
# Fewest of these rows for each weight.
ROWS_A_WEIGHT = 3
# Iterations on all rows after that.
ALL_ROWS_ITER = 8
# First damping of a fit that goes on with the same network. Precisions and damping of random points
# would undo what was fitted: it took some 20 iterations to come back.
RESUMED = 1e-3
# Sub-networks that each level gets, if there is hardly any noise, when fewer have learned what they
# can: with 10 000 rows this divides the error by 10 (geometric mean of 7 functions).
WIDER_BY = 2
# Error above which this is done.
WIDER_ABOVE = 1e-10
# Most weights of a network with these, and fewest training rows for each.
WIDER_WEIGHTS, ROWS_A_WIDER_WEIGHT = 700, 4
# Most iterations of such a network, and first damping. With 0.01 it ended early (borehole).
WIDER_ITER = 70
WIDER_DAMPING = 1.0
# Most iterations on the rows of all partitions, each of which reads them once, and (fraction,
# steps): they end if the loss falls by less than this fraction over so many successful steps. Most
# of the loss may be noise, so the fraction is small.
SUMMED_ITER, SUMMED_END = 10, (1e-4, 3)
# Most numbers of the products of all starts and outputs that go on so (160 MB).
SUMMED_PRODUCTS = 20_000_000
# Error below which a start ends.
COMPOSED_EXACT = 1e-12
# Most error that lowering may add, as a fraction of the estimated error.
LOWERING_LOSS = 0.05
# Rows on which the error of lowering is measured.
LOWERED_ROWS = 2000
# Most pairs of layers that are added to reduce this error.
MOST_LAYERS_MORE = 8
# Levels, and most sub-networks of a level, if there is noise: fewer weights follow less of it. With
# 10 % of noise, errors are 0.67 times those before on the 10 functions that chose the first size,
# in 0.4 times the time, and 0.98 times on 52 others (geometric means), in 0.8 times on all. Smaller
# sizes are tried as long as estimated errors fall, where those of all rows are known: 0.96 times
# with 1000 rows, 0.93 times with 300 (10 % of noise) and 0.95 times (1000 rows, 1 %), on the
# 29 functions of one and two inputs.
NOISY_LEVELS, NOISY_SIZES = 2, (4, 2, 1)
# Degrees of freedom that a parameter costs beside those by which errors are estimated: which of its
# kinks a network has was chosen, too. Without it a size too large is taken more often: errors are
# 0.4 to 2.5 % larger on these functions. With 0.5 some sizes are too small (up to 1.4 times).
COST_OF_PARAMETER = 0.3
# Multiple of the error of the larger network above which a smaller one is given up.
HOPELESS = 1.5
# Largest ratio of the estimated errors of a model to that of another one with more parameters at
# which it is taken: noise alone makes them differ by so much.
FEWER = 1.02
# Error up to which there is no noise, and the smaller network is not tried.
NO_NOISE = 1e-5
# Error above which, if there is hardly any noise, a deeper network is fitted from other points.
LEARNED = 1e-7
# Its levels, most sub-networks of a level, most weights, and fewest rows for each. With six levels
# of four sub-networks errors of nine functions fell to 0.38 times, with these to 0.25 times; with
# two rows a weight nothing was gained from 300 rows.
DEEPER_LEVELS, DEEPER_WEIGHTS, ROWS_A_DEEPER_WEIGHT = (8, 3), 530, 1.25
# Starts of networks of another size. With six for the smaller ones errors are 0.993 times (29 noisy
# functions, geometric mean), in 1.27 times the time of the fit. Three for four sub-networks as well
# take 0.72 times the time and are as accurate in the mean with a process beside them, but up to
# 1.2 times worse, and without one (2000 rows, 15 functions) 1.06 times and up to 1.8 times.
OTHER_STARTS = 3
# Largest ratio of the estimated errors at which it is taken. Both are estimated by training rows:
# with 0.3 and 1 % of noise errors of a network that had learned no more came down to 0.51 times,
# while those on other rows rose.
DEEPER = 0.5
# Ratio of the error of the smaller network on left-out rows to that of the default one above which
# there is little noise, and the deeper network is tried, too. Without noise this divides the error
# of II.11.7 by 49 and that of II.36.38 by 2, and multiplies that of II.6.15a by 1.5.
NEEDS_MORE = 1.5
# Error above which the other starts are fitted to the end, too, and averaged.
COMPOSED_AVERAGE = 1e-3
# Error above which one level is fitted instead; not with more than `COMPOSED_ROWS` rows, because
# that would take minutes.
COMPOSED_NOISE = 0.03
# Fewest default starts on one level for which this is done: the average of fewer is no better
# (epa2021, ames, bikeshare).
MANY_STARTS = 4
# Starts of a rough fit, which detects noise early.
LOOK_STARTS = 3
# Rows that each of these starts holds out, between a tenth and a third of all: with fewer, one
# start may hold out none of the rows with noise (missing values), which it fits closely.
LOOK_HELD_OUT = 60
# Most iterations of the rough fit. Products of features take long: with 24 iterations some of the
# functions I.12.11, I.30.3 and II.11.7 of 10 000 rows were not found to be smooth.
LOOK_ITER = 100
# Work of one of its starts, which limits its rows.
LOOK_WORK = 6e7
# (fraction, steps): such a start has slowed down if its error falls by less than this fraction over
# so many successful steps. With 6 steps looks ended before they found some functions (II.11.7).
LOOK_SLOW = (0.15, 9)
# Error above which it has not slowed down: it may not have begun to learn.
LOOK_BEGUN = 0.8

# --- encoded columns -------------------------------------------------------------------------

# Ramps of a feature that waves read.
COARSE_RAMPS = 16
# Most ramps of a feature that its curve is made of, rows for each, and ramps of all features.
FINE_RAMPS, ROWS_A_RAMP, MOST_RAMPS = 128, 40, 1024
# Least distance of knots, in standard deviations of the feature.
LEAST_WIDTH = 1e-9
# Most rows that choose knots and fit additive models.
KNOT_ROWS = ADDITIVE_ROWS = 30_000
# Most curves of all outputs: with more, waves read none.
MOST_CURVES = 256
# Standard deviation of a curve, in those of y, below which it is left out.
FLAT_CURVE = 1e-3
# Factor on ramps, whose standard deviations are at most 1/2.
RAMP = 2.0
# Inputs of a wave above which all are multiplied by a factor below 1: sums of more would move
# farther in a step of Adam.
INPUTS_AT_FULL_RATE = 130
# Default layers of waves on encoded columns: 1, 2 and 4 are equally accurate (six tables), and 4
# takes 1.6 times the time of 1.
ENCODED_DEPTH = 1
# Decay of weights, as a fraction of the learning rate. More than 0.1 costs accuracy (8 tables).
ENCODED_DECAY = 0.01
# The same for classes: 0.97 of the log-loss with 0.01 (churn .206 for .226, 6 tables).
ENCODED_DECAY_OF_CLASSES = 1.0
# Rows that are encoded at once.
ENCODED_CHUNK = 8192
# Most held-out rows of a member.
ENCODED_HELD_OUT = 5000

# Fewest rows for which encoded columns are tried; for classes, fewest rows outside of the largest
# class: networks get overconfident on a handful of rows.
MIN_ROWS_ENCODED = 50
# Error of composed sub-networks up to which nothing else is tried.
CLEAN = 0.003
# Most rows that composed sub-networks are fitted to if there is noise.
NOISY_ROWS = 6000
# Fit composed sub-networks to the end if the held-out loss of a rough one is at most this multiple
# of that of encoded networks.
SMOOTH = 1.1
# The same up to `PLAIN_ROWS`: the best of three starts on few rows seems better than it is, and
# there are waves on one level in its place.
SMOOTH_FEW_ROWS = 0.9
# Weight in the average, from which, and error, up to which composed sub-networks are continued on
# all rows: the target is smooth then, and penalties estimated from the data suffice (friedman3 with
# 500 rows: 0.0013 for 0.0027; with 10 % of noise I.44.4 0.038 for 0.047, borehole 0.022 for 0.025).
SMOOTH_WEIGHT, LITTLE_NOISE = 0.75, 0.03
# Waves of a start on plain features, with so many features or fewer; half as many above.
STACKED_WAVES, FEW_FEATURES = 16, 12
# Most rows for which waves on plain features are fitted beside encoded ones.
PLAIN_ROWS = 3000
# Most rows that choose the weights of the kinds, and rows that the prior of these weights counts
# for. It is 1/2 for waves on plain features, if there are three kinds, and alike for all others.
STACKED_ROWS, PRIOR_ROWS = 20_000, 44
# Kinds of less weight are left out.
LEAST_WEIGHT = 1e-3
# Most rows over which the mean of predictions is that of targets.
SHIFT_ROWS = 50_000


class EncodedSize(NamedTuple):
    """Sizes of encoded networks, and how they are trained."""

    kinds: tuple[str, ...]
    n_members: int  # of each kind
    shares_curves: bool  # whether all members read one additive model of all rows
    n_waves: int
    n_units: int
    n_steps: int
    batch: int
    rate: float


def decay_of(classes: bool) -> float:
    """Return the decay of weights."""
    return ENCODED_DECAY_OF_CLASSES if classes else ENCODED_DECAY


def encoded_size(n: int) -> EncodedSize:
    """Return the sizes for n rows.

    Up to 3000 rows an additive model overfits the rows that it has seen, so that each member has
    its own, without the rows that it holds out.
    """
    both = ("encoded", "residual")
    if n < 1500:
        return EncodedSize(both, 10, False, 24, 48, min(max(150, n // 8), 250), 64, 6e-3)
    if n < 3500:
        return EncodedSize(both, 5, False, 32, 64, 400, 64, 6e-3)
    if n < 10_000:
        return EncodedSize(both[1:], 5, True, 32, 64, 800, 128, 8e-3)
    steps, batch = min(round(8 * n**0.5), 6000), 256 if n < 25_000 else 512
    return EncodedSize(both[1:], 4, True, 64, 64, steps, batch, 8e-3)


# --- windows side by side --------------------------------------------------------------------

# By number of features: (directions, windows along each), from few to many.
WINDOW_SIZES = {
    1: ((1, 16), (1, 64), (1, 256), (1, 512), (1, 1024)),
    2: ((8, 8), (16, 16), (16, 32), (32, 32)),
}
# Most sub-networks with losses other than squared errors, whose fits take tens of times as long.
ITERATED_WINDOWS = 256
# Fewest rows.
WINDOW_FEWEST_ROWS = 5
# Most rows; of larger tables a random part trains.
WINDOW_ROWS = 20_000
# Most multiplications of one decomposition (some seconds).
WINDOW_WORK = 2e10
# The same with several classes, times the square of their number.
COUPLED_WINDOW_WORK = 2e9
# Take more sub-networks if they reduce the loss of left-out rows by this fraction.
WINDOW_GAIN = 0.02
# Loss below which no more sub-networks are tried.
WINDOW_EXACT = 1e-5
# Ridges to choose from with losses other than squared errors, relative to the largest squared
# singular value.
WINDOW_RIDGES = tuple(10.0**-k for k in range(3, 14))
# Quantile levels at which targets are clipped to choose the number of windows for quantiles.
QUANTILE_CLIP = (0.02, 0.98)
# Ridges to choose from for quantiles, as multiples of the ridge that is best for the mean.
QUANTILE_RIDGES = (100.0, 10.0, 1.0)
# Keep windows with at most this multiple of the noise estimated from neighbours.
WINDOWS_EXPLAIN = 1.3
# Error below which moving sub-networks are preferred to windows, because they are far fewer.
SMALL_ERROR = 1e-4

# --- average and blend -----------------------------------------------------------------------

# Leave out a start if its held-out loss exceeds this multiple of the median.
FAILED_START = 3.0
# Rows with the loss of the best constant on all rows that are added to a start's held-out rows,
# to estimate the loss of the best constant there.
NULL_ROWS = 3.0
# Blend with the linear model if that reduces the held-out loss by this fraction.
BLEND_GAIN = 0.005
# (step, steps to each side) of the grids of weights in the blend: around 1/2, then around the best.
BLEND_STEPS = ((0.25, 2), (0.05, 4))
# Most held-out rows that choose these weights.
BLENDED_ROWS = 20_000
# Most values (rows times columns) that the linear model is fitted to.
LINEAR_VALUES = 1e7
# Rows a column above which a linear model gets no ridge (a tiny one with losses other than squared
# errors, for classes that do not overlap).
ROWS_A_COLUMN = 100
# The optimism of held-out rows, which choose the best iteration, is the standard error of their
# loss times ``1 + FLATTERING_ROWS / held-out rows``.
FLATTERING_ROWS = 10.0
# Fewest held-out rows beyond a quantile for which it is calibrated.
FEWEST_BEYOND = 5
# Leave out a network whose values change by this fraction of the standard deviation of y with the
# last digits of X: sub-networks cancel, or there are too many layers.
UNSTEADY = 1e-3
# Rows on which this change is measured.
STEADY_ROWS = 1000
# Loss above which an interrupted fit is not kept.
WORTHLESS = 0.999
# Most rows on which a warm start is judged.
WARM_ROWS = 5000

# --- what the estimators say -----------------------------------------------------------------

# Error above which predictions are bounded by default. 0.01 bounded functions with 1 % of noise,
# which doubled the error of those that are steep at the edges (kv, I.44.4, II.2.42). The tables by
# which defaults are chosen are as accurate with either.
BOUNDED_NOISE = 0.03
# The same for classes, whose logits have no range: only features are clipped. It is as it was, as
# the functions above are of numbers.
BOUNDED_NOISE_OF_CLASSES = 0.01
# Warn of structure above this unexplained variance, as a fraction.
UNEXPLAINED = 0.1
# Warn of structure above this multiple of the noise.
NOISE_TO_WARN = 3.0
# Most rows on which these two are compared.
COMPARED_ROWS = 5000
# Largest ``alpha`` with this warning: whoever chooses a larger one wants to explain less.
STRONG_ALPHA = 10.0
# Most rows over which feature importances are averaged.
SLOPES_ROWS = 2000

# --- compression -----------------------------------------------------------------------------

# `python -m benchmarks.size` measures what networks of each size lose.

# Points beside the rows, for smooth functions and at most for tables with noise; one of so many is
# held out. More gain little.
COMPRESSION_SMOOTH_POINTS, COMPRESSION_POINTS, COMPRESSION_HELD_OUT = 9000, 4000, 8
# Points for each row of a table with noise, and the fewest. 4000 points for some 300 rows take
# 1.4 times the time and gain nothing (auto_mpg, boston, diabetes).
COMPRESSION_POINTS_OF_ROW, COMPRESSION_FEWEST_POINTS = 6, 1500
# A column matters if it has more than this fraction of the squares of slopes: of the error.
COMPRESSION_MATTERS, COMPRESSION_SLOPES = 1e-7, 2000
# Default sub-networks and depth of waves. Three are less accurate on six of ten functions.
COMPRESSION_SUBNETWORKS, COMPRESSION_DEPTH = 4, 4
# Starts, their rows, and iterations of their refinement. With 40 iterations errors are ten times
# larger on friedman1 and Branin: the limit of infinite depth is left too early.
COMPRESSION_STARTS, COMPRESSION_START_ROWS, COMPRESSION_START_ITER = 2, 3000, 60
# Rows and iterations when all weights are released, and after each round and the last round of
# removals; a round keeps this fraction of the parameters. So few rows in each round take 0.65 to
# 0.9 of the time, but errors are up to 1.7 times as large (borehole, I.16.6).
COMPRESSION_RELEASED_ROWS, COMPRESSION_RELEASE_ITER = 4000, 30
COMPRESSION_PRUNED_ITER, COMPRESSION_LAST_ITER, COMPRESSION_KEPT = 30, 120, 0.75
# Networks of no more parameters end in double precision.
COMPRESSION_FEW = 600
# (fraction, iterations) that end a training, and the penalty on squares of parameters.
COMPRESSION_TOL, COMPRESSION_PATIENCE, COMPRESSION_PENALTY = 0.01, 20, 1e-8
# Hinges of a column and kinks of the teacher that neurons are chosen from, and the rows for it.
COMPRESSION_HINGES, COMPRESSION_KINKS, COMPRESSION_CHOICE_ROWS = 14, 800, 2000
# Weight of all rows over that of all points, iterations, and ridge of the read-out.
COMPRESSION_ROWS_SHARE, COMPRESSION_KINKS_ITER, COMPRESSION_RIDGE = 0.5, 12, 1e-6
# Most parameters, for tables and for smooth functions. Half, a quarter, ... of it are tried.
COMPRESSION_MOST, COMPRESSION_MOST_SMOOTH = 1500, 800
# Numbers of sub-networks tried with a shape.
COMPRESSION_SHAPED = (1, 2, 4, 8, 16, 32)
# Weight of a point with a certain class, relative to the mean of all.
COMPRESSION_CERTAIN = 0.03
# Largest loss: this fraction of the model's own error, and at least so much.
COMPRESSION_LOSS, COMPRESSION_LEAST_LOSS = 0.01, 1e-5

# --- partial_fit -----------------------------------------------------------------------------

# Sub-networks if their number is "auto", for one feature and for more: those of many rows in fit,
# because the number of rows is not known.
STREAM_OF_ONE, STREAM_SUBNETWORKS = 8, 32
# Ridge of the first coefficients, relative to that of fit. The first steps of Adam move all weights
# alike, which large coefficients magnify. After 60 calls of 50 or 200 rows of three functions with
# and without noise, the unexplained variance is 0.066, 0.062, 0.086 and 0.268 (geometric means)
# for 1, 10, 100 and 1000, at the default rate and without `STREAM_WARM_UP`.
STREAM_RIDGE = 10.0
# First steps of Adam over which its rate grows, because moments are of few gradients then. With a
# rate of 0.01, the loss of the second to the sixth of these calls is 0.30, 0.20, 0.19 and 0.19 for
# 0, 10, 20 and 40 steps, and the unexplained variance in the end 0.038, 0.038, 0.042 and 0.048.
STREAM_WARM_UP = 10

# --- error bars ------------------------------------------------------------------------------

# Held-out rows of default fits have chosen kinds of networks, their weights and the length of their
# training: their errors are too small by a factor of ``1 + CHOSEN_OPTIMISM / rows``. Bars
# of 90 % hold 0.899, 0.898, 0.893 and 0.894 of new rows with 60, 93, 186 and 350 rows of 10 to 23
# tables (medians), without the factor 0.843, 0.865, 0.878 and 0.887. It is that of
# `FLATTERING_ROWS`, taken as it was.
CHOSEN_OPTIMISM = 10.0
# Most left-out rows whose scores are kept: 0.4 % is the standard error of a coverage of 0.9.
SCORED_ROWS = 4000
# Least noise, as a fraction of the squared errors of left-out rows, if it is their rest.
LEAST_NOISE = 0.2
# Smallest variance, for exact fits.
NO_VARIANCE = 1e-28
# Most columns of a posterior: a model keeps half of their square.
MOST_OF_POSTERIOR = 1500
# Work and numbers in memory at once for the posterior of a start: at most about 0.3 s.
POSTERIOR_WORK, POSTERIOR_NUMBERS = 3e9, 4e6

# Periodic waves along random directions.
# Rows between which they are fitted, waves a row, rounded up to a power of 2, and most waves. They
# are the model if they predict left-out rows better than other networks. Chosen on 21 functions:
# errors fall to 0.21 times with 40 rows (geometric mean, no noise) and 0.67 times with 100. On 41
# others they fall to 0.25 and 0.66 times, on 21 of these with 10 % of noise to 0.90 and 0.96 times.
# With 300 rows and no noise 256 waves hold too little of the process: 1.5 times the errors of other
# networks (21 functions).
FEWEST_ROWS, FEW_ROWS, WAVES_A_ROW, MOST_WAVES = 20, 100, 2, 128
# Largest sum of absolute values of their coefficients, which cancel: in single precision two models
# changed by 7e-6 and 0.002 standard deviations. Without it errors on 62 functions are the same with
# 40 rows, and 0.87 times with 100 (geometric mean, no noise), but sums reach 1e6.
MOST_SIZE = 1e4
# solver="ridge": waves if their number is "auto", most rows, and rows that choose the lengths.
WAVES_OF_RIDGE, MOST_ROWS_OF_RIDGE, LENGTH_ROWS = 1024, 4000, 400
# Parameters of the process beside lengths that have seen the rows which they leave out: amplitude,
# noise, and six for the choice of kernel and beginning, and of waves rather than other networks.
# Bars of 90 % hold 0.85 of new rows with 40 rows without these six, and 0.90 with them (means over
# 62 functions, three noises). Likelihoods are about the same. With solver="ridge", where nothing
# else is to choose, it is 0.87 without them, and 0.92 with them (31 functions).
CHOSEN_PARAMETERS, PARAMETERS_OF_RIDGE = 8, 2
# Depth from which on they are lowered, until that adds little error: of the noise, and of this part
# of the least variance of a left-out row.
RIPPLE_DEPTH, RIPPLE_LOSS = 3, 0.1

# Networks that learn a gaussian process, or its average with another fit.
# More rows than these, and most rows without and with noise. With 1000 rows and 10 % of noise
# errors on 62 functions are 0.95 times those without it (geometric mean), in 1.5 times the time.
# Seven of nine tables of 600 to 900 rows predict the same, one as well, and quakes has 0.98 times
# the squared error. Without noise networks do not come as close to such a process as it is to the
# function.
PROCESS_FROM, PROCESS_ROWS = 120, (500, 1000)
# Least weight of networks on plain features beside encoded ones: rough targets gain nothing.
PROCESS_SMOOTH = 0.5
# Largest ratio of the squared errors of both for an average, and least share of the process.
COMPARABLE, LEAST_OF_PROCESS = 2.0, 0.05
# Least part of the squared error beyond the noise that it must save: less takes time for nothing
# (with 300 and 1000 rows and 10 % of noise a seventh of 124 fits: means change by less than 0.1 %).
LEAST_GAIN = 0.1
# Most rows that it learns from, beside points between them.
DISTILLED_ROWS = 300
# Most weights, starts and iterations of the network, and error at which it has learned enough, as a
# part of the variance that the process has at a row without this row.
DISTILLED_WEIGHTS, DISTILLED_STARTS, DISTILLED_ITER, DISTILLED = 300, 3, 200, 0.02
