# cython: language_level=3, cdivision=True
"""The test that drift.py describes, in basic IEEE 754 arithmetic: the same events on every machine."""

from libc.math cimport frexp, sqrt
from libc.stdint cimport intptr_t
from libc.string cimport memmove, memset

from stream_perceptron.model.buffers cimport get_address

cdef enum:
    BLOCK = 50  # samples between two tests
    N_RATIOS = 5
    N_DROPS = 3  # the first ratios are those of drops, the others those of rises
    N_LENGTHS = 4
    N_LAST = 40  # blocks in a pair of the longest windows
    MIN_WINDOWS = 12  # windows of one length that are needed for an estimate
    PRIOR_BLOCKS = 60  # an allowance for dependence that the first blocks cannot show

cdef double[N_RATIOS] RATIOS = [1.2, 2.0, 20.0, 1.0 / 1.2, 1.0 / 3.0]
cdef double[N_RATIOS] BOUNDS = [9.6, 11.0, 11.0, 9.6, 11.0]  # small changes take longer to show
cdef int[N_LENGTHS] LENGTHS = [1, 4, 10, 20]  # of the windows for the dispersion, in blocks

ctypedef struct Class:
    double open_seen, open_wrong  # in the block that is not full
    double seen, wrong  # in all full blocks since accuracy last changed
ctypedef struct Sum:
    double total, minimum
    double seen, wrong, row, sample  # at the minimum
ctypedef struct State:
    double seen, wrong  # since accuracy last changed
    double before, after, has_risen  # the levels of the last drop; 0 after a recovery
    Sum[N_RATIOS] sums
    double n_blocks
    double[N_LENGTHS] squares  # sums of squared differences between adjacent windows
    double[N_LAST + 1] excess, variance  # running sums after each of the last blocks

STATE_SIZE = sizeof(State) // sizeof(double)


cdef double portable_log(double x) noexcept:
    """Return a logarithm, accurate to ten digits."""
    cdef int power
    cdef double part = frexp(x, &power), s, t
    s = (part - 0.7071067811865476) / (part + 0.7071067811865476)
    t = s * s
    return (power - 0.5) * 0.6931471805599453 + 2.0 * s * (
        ((((t / 11.0 + 1.0 / 9.0) * t + 1.0 / 7.0) * t + 1.0 / 5.0) * t + 1.0 / 3.0) * t + 1.0
    )


cdef double measure_dispersion(State* s, double excess, double variance) noexcept:
    """Return the dispersion of mistakes, given a block's excess of mistakes and its variance."""
    cdef double dispersion, difference, pair_variance, n_pairs, freedom, mean
    cdef double* x = s.excess
    cdef int i, length
    memmove(x, x + 1, N_LAST * sizeof(double))
    memmove(s.variance, s.variance + 1, N_LAST * sizeof(double))
    x[N_LAST] = x[N_LAST - 1] + excess
    s.variance[N_LAST] = s.variance[N_LAST - 1] + variance
    dispersion = 1.0 + PRIOR_BLOCKS / max(s.n_blocks, <double>PRIOR_BLOCKS)
    for i in range(N_LENGTHS):
        length = LENGTHS[i]
        n_pairs = s.n_blocks - 2 * length + 1
        if n_pairs < 1:
            continue
        pair_variance = s.variance[N_LAST] - s.variance[N_LAST - 2 * length]
        if pair_variance > 0.0:
            difference = x[N_LAST] - 2.0 * x[N_LAST - length] + x[N_LAST - 2 * length]
            s.squares[i] += min(difference * difference / pair_variance, 16.0)
        mean = s.squares[i] / n_pairs
        freedom = 6.0 * length * n_pairs / (4.0 * length * length + 5.0)
        if n_pairs >= MIN_WINDOWS * length and mean > 1.0 + 3.0 * sqrt(2.0 / freedom):
            dispersion = max(dispersion, 1.5 * mean)
    return dispersion


cdef tuple test_block(State* s, Class* classes, ptrdiff_t k, double row):
    """Test the accuracy after a block that ends at `row`; return the fields of an event, or None."""
    cdef double expected = 0.0, variance = 0.0, mistakes = 0.0, share, largest, excess, level
    cdef ptrdiff_t c
    cdef int r, ratio = N_RATIOS
    cdef Sum start
    cdef tuple event = None
    for c in range(k):
        classes[c].seen += classes[c].open_seen
        classes[c].wrong += classes[c].open_wrong
        share = classes[c].wrong / max(classes[c].seen, 1.0)
        expected += share * classes[c].open_seen
        variance += share * (1.0 - share) * classes[c].open_seen
        mistakes += classes[c].open_wrong
        classes[c].open_seen = classes[c].open_wrong = 0.0
    s.n_blocks += 1.0
    s.seen += BLOCK
    s.wrong += mistakes
    largest = measure_dispersion(s, mistakes - expected, variance)
    for r in range(N_RATIOS):
        s.sums[r].total += mistakes * portable_log(RATIOS[r]) - BLOCK * portable_log(
            1.0 + expected / BLOCK * (RATIOS[r] - 1.0)
        )
        if s.sums[r].total <= s.sums[r].minimum:
            s.sums[r] = Sum(
                s.sums[r].total, s.sums[r].total, s.seen, s.wrong, row, BLOCK * s.n_blocks
            )
        excess = (s.sums[r].total - s.sums[r].minimum) / BOUNDS[r]
        if excess > largest:
            largest, ratio = excess, r
    if ratio == N_RATIOS:
        level = 1.0 - s.wrong / s.seen
        if s.has_risen == 0.0 or level < s.after + 0.75 * (s.before - s.after):
            return None
        event = ("recovery", int(row), int(BLOCK * s.n_blocks), int(row), s.after, level)
        s.before = s.after = s.has_risen = 0.0
    elif ratio >= N_DROPS:
        s.has_risen = s.before > s.after
    elif s.sums[ratio].seen > 0.0:
        start = s.sums[ratio]
        level = 1.0 - start.wrong / start.seen
        s.before, s.has_risen = max(s.before, level), 0.0
        s.after = 1.0 - (s.wrong - start.wrong) / (s.seen - start.seen)
        event = ("drop", int(start.row) + 1, int(start.sample) + 1, int(row), level, s.after)
    s.seen = s.wrong = 0.0
    memset(s.sums, 0, sizeof(s.sums))
    for c in range(k):
        classes[c].seen = classes[c].wrong = 0.0
    return event


def test_samples(state, classes, labels, predicted, rows):
    """Test more samples; return the fields of each `DriftEvent` found."""
    cdef const intptr_t* c_labels = <const intptr_t*>get_address(labels)
    cdef const intptr_t* c_predicted = <const intptr_t*>get_address(predicted)
    cdef const intptr_t* c_rows = <const intptr_t*>get_address(rows)
    cdef Class* c_classes = <Class*>get_address(classes)
    cdef Class* counts
    cdef ptrdiff_t i, k = len(classes), n_open = int(classes[:, 0].sum())
    events = []
    for i in range(len(labels)):
        counts = c_classes + min(c_labels[i], k - 1)
        counts.open_seen += 1.0
        counts.open_wrong += c_labels[i] != c_predicted[i]
        n_open += 1
        if n_open == BLOCK:
            n_open = 0
            event = test_block(<State*>get_address(state), c_classes, k, c_rows[i])
            if event is not None:
                events.append(event)
    return events
