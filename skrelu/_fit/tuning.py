"""Every number of a fit that was chosen: its unit, its reason, and how to measure another.

``python -m benchmarks.tuning NAME VALUE ...`` fits the tables that defaults are chosen on with each
value, and prints errors and CPU seconds. Reasons name what was seen when a value was chosen; one
that names nothing rests on experience alone. Numbers that guard against rounding stay where they
are used.
"""

# --- sizes -----------------------------------------------------------------------------------

# alpha: the default. Left-out rows choose ridges then; larger values enlarge them.
DEFAULT_ALPHA = 0.5
# Starts, at most, while one start takes this many multiplications an iteration; above, their
# number falls with the square root: fewer starts cost accuracy, more of them time.
MOST_STARTS, STARTS_WORK = 12, 1.5e8
# Starts of a classifier, at least: single networks are too sure of the classes.
FEWEST_STARTS_OF_CLASSES = 3
# Sub-networks with a shape, as a multiple of those without: they can do less each.
SHAPED = 2
# Free peaks of a sub-network where much noise is expected: as accurate as all, in less time.
NOISY_PEAKS = 2
# Rows from which on some are held out: some must be left to learn from.
MIN_ROWS_TO_HOLD_OUT = 20
# Numbers (of 8 bytes) that the networks of all starts may have: 1.6 GB.
MOST_NUMBERS = 2e8
# Copies of a chunk of columns that are held at once.
HELD_AT_ONCE = 4

# --- pretraining -----------------------------------------------------------------------------

# Use Adam above this many multiplications an iteration over all starts (about 10 s), or matrix
# entries (about 2 GB).
LM_WORK, LM_NUMBERS = 3e11, 2e8
# The same multiplications for classes: Adam predicts as well there, in less time (churn).
LM_WORK_OF_CLASSES = 3e10
# Random sub-networks that are tried for each start, and matrix entries of all of them at most: the
# best draw costs one evaluation and spares the worst local minima.
N_SCREENED, MOST_SCREENED = 64, 1e7
# (fraction, iterations): end pretraining without held-out rows when the loss fell by less than this
# fraction over so many iterations, if refinement follows: going on gained nothing.
EARLY_END = (0.1, 10)
# The same for classes: with 0.1 one of ten fits of spirals ended on a plateau; 0.02 over 20
# iterations takes twice as long and gains nothing.
EARLY_END_OF_CLASSES = (0.03, 10)
# The same of held-out losses where much noise is expected, in single precision. With Adam that
# takes 0.6 of the time, at 1.007 of the log-loss (30 000 rows, 20 features, 10 classes).
NOISY_END = (1e-3, 8)
# tol, at least, of functions with a shape: steps that bounds hold up are many and small.
SHAPED_TOL = 0.03
# Adam's step size for batches of the least number of rows; both grow together up to the most rows
# (Goyal et al., "Accurate, large minibatch SGD", 2017, https://arxiv.org/abs/1706.02677).
LEARNING_RATE, LEAST_BATCH, MOST_BATCH = 1e-3, 200, 1000

# --- refinement ------------------------------------------------------------------------------

# Seconds by default, on one core. An iteration takes so many, and so many more for each
# multiplication: where several dampings are tried, and where one is.
REFINEMENT_SECONDS = 1.5
SECONDS_AN_ITERATION, SECONDS_TRYING, SECONDS_NOT_TRYING = 2e-3, 1.25e-10, 4e-11
# Iterations by default, at least (or none) and at most.
MIN_REFINEMENT, MAX_REFINEMENT = 5, 500
# Try several dampings at once below this many multiplications an iteration, as these multiples of
# the last one that was good.
TRYING_WORK = 5e8
REFINEMENT_TRIALS = (0.01, 0.1, 1.0, 10.0)
# Begin in the limit of infinite depth if there are this many iterations, in so many branches in all
# while each branch may have twice as many.
MIN_ITER_IN_LIMIT, MOST_BRANCHES = 50, 4
# Layers more with which the limit is left. More leave errors of the first layers that the last
# ones cannot repair (5 or 6 at depth 8: twice the median error or more); fewer take longer and
# gained little.
UNFOLDED_LAYERS = 3
# Iterations of each fit in the limit at most: its weights are few, and going on gains little.
LIMIT_ITER = 40
# Iterations at full depth after which the best branch of a start shows.
BRANCH_ITER = 40
# Share of the variance of held-out rows that pretraining leaves, above which nothing is refined: it
# did not improve predictions (boston, auto_mpg, diabetes), at 5 to 10 times the time.
REFINED_NOISE = 0.01

# --- composed sub-networks -------------------------------------------------------------------

# Rows from which on they are tried, and levels by default.
MIN_ROWS_COMPOSED, N_LEVELS = 50, 6
# Levels for classes, tried beside one level. Whichever has the lower loss on held-out rows leaves
# 0.96 of the log-loss of one level; with 3 levels 0.98 (10 tables, at most 1500 rows). Other losses
# gained nothing (1.01 with 2 and with 4 levels, 26 pairs of loss and table).
N_LEVELS_OF_CLASSES = 2
# Sub-networks a level by default, at most, while a network has at most one weight for two rows (or
# for one row, with one sub-network a level). More are more accurate, and slower.
MOST_COMPOSED = 3
# Weights of such networks at most, and of those with one sub-network a level: the time of an
# iteration grows with their third power.
MOST_WEIGHTS, MOST_WEIGHTS_OF_ONE = 500, 1000
# Starts by default, and iterations after which the best one goes on alone.
COMPOSED_STARTS, SCREENING_ITER = 6, 12
# Rows that train at most; multiplications of an iteration above which a random part of the rows
# trains first, and iterations on all rows then.
COMPOSED_ROWS, COMPOSED_WORK, ALL_ROWS_ITER = 20_000, 3e8, 15
# Error (of the variance) below which no better fit is looked for.
COMPOSED_EXACT = 1e-10
# Part of the estimated error that lowering may add, rows that tell, most pairs of layers more.
LOWERING_LOSS, LOWERED_ROWS, MOST_LAYERS_MORE = 0.05, 2000, 8
# Error above which the other starts are fitted to the end, too, and averaged.
COMPOSED_AVERAGE = 1e-3
# Error above which one level is fitted instead; not on larger tables, where that would take
# minutes, nor where there is time for fewer starts than this: the average is no better then
# (epa2021, ames, bikeshare).
COMPOSED_NOISE, MANY_STARTS = 0.03, 4
# Starts, iterations and multiplications an iteration of a rough fit, which shows noise at once.
LOOK_STARTS, LOOK_ITER, LOOK_WORK = 3, 24, 6e7
# Such a start has slowed down when its error fell by less than this fraction over so many steps
# taken, and is below the second number: above, it may not have begun to learn.
LOOK_SLOW, LOOK_BEGUN = (0.15, 4), 0.8

# --- windows side by side --------------------------------------------------------------------

# By number of features: (directions, windows along each), from few to many.
WINDOW_SIZES = {
    1: ((1, 16), (1, 64), (1, 256), (1, 512), (1, 1024)),
    2: ((8, 8), (16, 16), (16, 32), (32, 32)),
}
# Sub-networks at most with other losses, whose fits take tens of times as long.
ITERATED_WINDOWS = 256
# Rows at least, and at most.
WINDOW_FEWEST_ROWS, WINDOW_ROWS = 5, 20_000
# Multiplications of one decomposition at most (some seconds), and for classes, times their number.
WINDOW_WORK, COUPLED_WINDOW_WORK = 2e10, 2e9
# Take more sub-networks where they lower the loss of left-out rows by this part, down to this loss.
WINDOW_GAIN, WINDOW_EXACT = 0.02, 1e-5
# Ridges to choose from with losses that iterate.
WINDOW_RIDGES = tuple(10.0**-k for k in range(3, 14))
# Quantiles get the size for targets clipped to these quantiles, and ridges times these factors.
QUANTILE_CLIP, QUANTILE_RIDGES = (0.02, 0.98), (100.0, 10.0, 1.0)
# Keep windows whose error is at most this multiple of the noise that neighbours show.
WINDOWS_EXPLAIN = 1.3
# Error below which windows, which take many more sub-networks, are not preferred.
SMALL_ERROR = 1e-4

# --- average and blend -----------------------------------------------------------------------

# Leave out a start whose held-out loss is this multiple of the median.
FAILED_START = 3.0
# Rows that the loss of the best constant on all rows counts as, beside held-out ones.
NULL_ROWS = 3.0
# Take a blend that lowers the loss of held-out rows by this part.
BLEND_GAIN = 0.005
# (step, steps to each side) of the weights of network and linear model: of 1/2, then of the best.
BLEND_STEPS = ((0.25, 2), (0.05, 4))
# Held-out rows that weights are chosen by at most, and values that a linear model is fitted to.
BLENDED_ROWS, LINEAR_VALUES = 20_000, 1e7
# Rows a column from which on a linear model needs no ridge but for classes that do not overlap.
ROWS_A_COLUMN = 100
# Held-out rows flatter a network whose iteration they chose: so many rows do so doubly.
FLATTERING_ROWS = 10.0
# Held-out rows beyond a quantile from which on it is calibrated.
FEWEST_BEYOND = 5
# Leave out a network that changes by this part of the targets' spread with the last digits of the
# inputs, as seen on so many rows: sub-networks cancel, or layers are too many.
UNSTEADY, STEADY_ROWS = 1e-3, 1000
# Part of the best constant's loss above which an interrupted fit is not kept.
WORTHLESS = 0.999
# Rows that tell how well a warm start fits.
WARM_ROWS = 5000

# --- what the estimators say -----------------------------------------------------------------

# Error above which predictions are bounded by default. With 0.01 functions with 1 % of noise were
# bounded, which doubled the error of those that are steep at the edges (kv, I.44.4, II.2.42); the
# tables that defaults are chosen on do not change.
BOUNDED_NOISE = 0.03
# Warn of structure above this unexplained share of the variance and this multiple of the noise, of
# so many rows; not of alpha above the last number: who chooses that wants less explained.
UNEXPLAINED, NOISE_TO_WARN, COMPARED_ROWS, STRONG_ALPHA = 0.1, 3.0, 5000, 10.0
# Rows that the importances of features are averaged over at most.
SLOPES_ROWS = 2000
