# cython: language_level=3, cdivision=True
"""The test that drift.py describes, block by block.

All arithmetic is basic IEEE 754 arithmetic, so events are the same on every machine.
"""

from libc.math cimport frexp, sqrt
from libc.stdint cimport intptr_t
from libc.string cimport memmove, memset

from stream_perceptron.model.buffers cimport get_address

cdef enum:
    BLOCK = 50  # samples between two tests
    N_RATIOS = 5
    N_DROPS = 3  # the first ratios are those of drops, the others those of rises
    FIRST_OF_CLASSES = 2  # smaller drops of single classes are usual while a model learns
    N_LENGTHS = 4
    N_LAST = 40  # blocks in a pair of the longest windows
    MIN_WINDOWS = 12  # windows of one length that are needed for an estimate
    PRIOR_BLOCKS = 60  # an allowance for dependence that the first blocks cannot show
    MIN_RECOVERED = 20  # the minimum number of samples since a rise that can show a recovery

cdef double[N_RATIOS] RATIOS = [1.2, 2.0, 20.0, 1.0 / 1.2, 1.0 / 3.0]
cdef double[N_RATIOS] LOG_RATIOS
# The bounds of the sums; small changes take longer to show, so fewer of them occur at random.
cdef double[N_RATIOS] BOUNDS = [9.6, 11.0, 11.0, 9.6, 11.0]
cdef double CLASS_MARGIN = 7.0  # added to the bounds for classes, of which there may be 1,000
cdef double RECOVERED_SHARE = 0.75  # the share of the loss that a recovery regains
cdef double EXCHANGED_SHARE = 0.25  # the minimum share of a loss that other classes gain
cdef int[N_LENGTHS] LENGTHS = [1, 4, 10, 20]  # of the windows for the dispersion, in blocks
cdef double MAX_SQUARE = 16.0  # limits the effect of a drop on the dispersion
cdef double MARGIN = 1.5  # for estimates: the distribution of mistakes in sessions is skewed

# The rows of the arrays in `DriftDetector`, which describes them.
ctypedef struct Class:
    double open_seen, open_wrong, open_false, seen, wrong
ctypedef struct Series:
    double seen, wrong, false, start, high, low, has_risen
ctypedef struct Sum:
    double total, minimum, seen, wrong, false, row, sample
ctypedef struct State:
    ptrdiff_t k
    Class* classes
    Series* series
    Sum* sums
    double* excess
    double* variance
    double* squares


cdef double portable_log(double x) noexcept:
    """Return a logarithm, accurate to ten digits."""
    cdef int power
    cdef double part = frexp(x, &power), s, t
    s = (part - 0.7071067811865476) / (part + 0.7071067811865476)
    t = s * s
    return (power - 0.5) * 0.6931471805599453 + 2.0 * s * (
        ((((t / 11.0 + 1.0 / 9.0) * t + 1.0 / 7.0) * t + 1.0 / 5.0) * t + 1.0 / 3.0) * t + 1.0
    )


cdef int _r
for _r in range(N_RATIOS):
    LOG_RATIOS[_r] = portable_log(RATIOS[_r])


cdef double measure_dispersion(State* state, double excess, double variance) noexcept:
    """Add a block's excess of mistakes and its variance; return the dispersion of mistakes.

    The mean of squared differences between many overlapping windows of length L has about
    1.5 * 4 L^2 / (4 L^2 + 5) equivalent degrees of freedom per window (W. J. Riley. 2008. Handbook
    of frequency stability analysis. NIST special publication 1065, section 5.4).
    """
    cdef double n, square, difference, pair_variance, n_pairs, n_windows, freedom, mean
    cdef double* x = state.excess
    cdef double* v = state.variance
    cdef double dispersion
    cdef int i, length
    memmove(x, x + 1, N_LAST * sizeof(double))
    memmove(v, v + 1, N_LAST * sizeof(double))
    x[N_LAST] = x[N_LAST - 1] + excess
    v[N_LAST] = v[N_LAST - 1] + variance
    state.squares[0] += 1.0
    n = state.squares[0]
    dispersion = 1.0 + PRIOR_BLOCKS / (n if n > PRIOR_BLOCKS else <double>PRIOR_BLOCKS)
    for i in range(N_LENGTHS):
        length = LENGTHS[i]
        n_pairs = n - 2 * length + 1
        if n_pairs < 1:
            continue
        difference = x[N_LAST] - 2.0 * x[N_LAST - length] + x[N_LAST - 2 * length]
        pair_variance = v[N_LAST] - v[N_LAST - 2 * length]
        if pair_variance > 0.0:
            square = difference * difference / pair_variance
            state.squares[1 + i] += square if square < MAX_SQUARE else MAX_SQUARE
        n_windows, mean = n_pairs / length, state.squares[1 + i] / n_pairs
        freedom = 6.0 * length * length / (4.0 * length * length + 5.0) * n_windows
        if n_windows >= MIN_WINDOWS and mean > 1.0 + 3.0 * sqrt(2.0 / freedom):
            dispersion = dispersion if dispersion > MARGIN * mean else MARGIN * mean
    return dispersion


cdef void add_block(State* state, ptrdiff_t i, double seen, double wrong, double share, double row,
                    double sample) noexcept:
    """Add a block to series i, given its expected share of mistakes; -1 stands for the series' own."""
    cdef Series* series = state.series + i
    cdef Sum* sums = state.sums + i * N_RATIOS
    cdef int r
    series.seen += seen
    series.wrong += wrong
    if share < 0.0:
        share = series.wrong / series.seen
    for r in range(N_RATIOS):
        sums[r].total += wrong * LOG_RATIOS[r] - seen * portable_log(1.0 + share * (RATIOS[r] - 1.0))
        if sums[r].total <= sums[r].minimum:
            sums[r] = Sum(
                sums[r].total, sums[r].total, series.seen, series.wrong, series.false, row, sample
            )


cdef double find_largest_rise(State* state, ptrdiff_t i) noexcept:
    """Return the largest amount by which a sum of series i that shows drops exceeds its minimum."""
    cdef Sum* sums = state.sums + i * N_RATIOS
    cdef double largest = 0.0
    cdef int r
    for r in range(FIRST_OF_CLASSES if i else 0, N_DROPS):
        if sums[r].total - sums[r].minimum > largest:
            largest = sums[r].total - sums[r].minimum
    return largest


cdef void restart(State* state, ptrdiff_t i, double sample) noexcept:
    """Begin the test of series i anew."""
    cdef Series* series = state.series + i
    if series.seen > 0.0 or series.false > 0.0:  # the class is known by now, however rows arrive
        series.start = sample
    series.seen = series.wrong = series.false = 0.0
    memset(state.sums + i * N_RATIOS, 0, N_RATIOS * sizeof(Sum))


cdef bint is_exchange(Series* series, Sum* start, double loss, double sample) noexcept:
    """Return whether a class's recall dropped only because the class is predicted less often.

    In that case, the share of other classes' samples that are predicted as this class dropped, too.
    """
    cdef double n_before = start.sample - series.start - start.seen
    cdef double n_after = sample - start.sample - (series.seen - start.seen)
    if n_before == 0.0 or n_after == 0.0:
        return False
    return (
        start.false / n_before - (series.false - start.false) / n_after > EXCHANGED_SHARE * loss
    )


cdef int find_change(State* state, ptrdiff_t i, double dispersion) noexcept:
    """Return the number of the ratio whose sum shows a change of series i, or N_RATIOS for none.

    -1 stands for a recovery.
    """
    cdef Series* series = state.series + i
    cdef Sum* sums = state.sums + i * N_RATIOS
    cdef double excess, largest = dispersion, level
    cdef int r, ratio = N_RATIOS
    for r in range(FIRST_OF_CLASSES if i else 0, N_RATIOS):
        excess = (sums[r].total - sums[r].minimum) / (BOUNDS[r] + (CLASS_MARGIN if i else 0.0))
        if excess > largest:
            largest, ratio = excess, r
    if ratio == N_RATIOS and series.has_risen > 0.0 and series.seen >= MIN_RECOVERED:
        level = 1.0 - series.wrong / series.seen
        if level >= series.low + RECOVERED_SHARE * (series.high - series.low):
            return -1
    return ratio


cdef bint end_segment(
    State* state, ptrdiff_t i, int ratio, double row, double sample, list events
) except -1:
    """Append the event for a change of series i, if the change is one, and begin the test anew.

    Return whether the event is a drop.
    """
    cdef Series* series = state.series + i
    cdef Sum start
    cdef double before, after
    cdef bint is_drop = False
    if ratio < 0:
        after = 1.0 - series.wrong / series.seen
        events.append((False, int(row), int(sample), int(row), series.low, after, i))
        series.high = series.low = series.has_risen = 0.0
    elif ratio >= N_DROPS:
        series.has_risen = series.high > series.low
    else:
        start = state.sums[i * N_RATIOS + ratio]
        if start.seen > 0.0:
            before = 1.0 - start.wrong / start.seen
            after = 1.0 - (series.wrong - start.wrong) / (series.seen - start.seen)
            is_drop = i == 0 or not is_exchange(series, &start, before - after, sample)
        if is_drop:
            events.append(
                (True, int(start.row) + 1, int(start.sample) + 1, int(row), before, after, i)
            )
            series.high = before if before > series.high else series.high
            series.low, series.has_risen = after, 0.0
    restart(state, i, sample)
    return is_drop


cdef test_block(State* state, double row, list events):
    """Test accuracy and the classes after a block that ends at `row`; append the events found."""
    cdef double expected = 0.0, variance = 0.0, mistakes = 0.0, share, dispersion, strength
    cdef double sample, largest = 0.0
    cdef Class* counts
    cdef ptrdiff_t c
    cdef int ratio, class_ratio
    cdef bint is_of_class, has_changed
    for c in range(state.k):
        counts = state.classes + c
        counts.seen += counts.open_seen
        counts.wrong += counts.open_wrong
        if counts.open_seen > 0.0:
            share = counts.wrong / counts.seen
            expected += share * counts.open_seen
            variance += share * (1.0 - share) * counts.open_seen
            mistakes += counts.open_wrong
    dispersion = measure_dispersion(state, mistakes - expected, variance)
    sample = BLOCK * state.squares[0]
    add_block(state, 0, BLOCK, mistakes, expected / BLOCK, row, sample)
    for c in range(state.k):
        counts = state.classes + c
        state.series[1 + c].false += counts.open_false
        if counts.open_seen > 0.0:
            add_block(state, 1 + c, counts.open_seen, counts.open_wrong, -1.0, row, sample)
        largest = max(largest, find_largest_rise(state, 1 + c))
    ratio = find_change(state, 0, dispersion)
    is_of_class = largest > find_largest_rise(state, 0) + CLASS_MARGIN * dispersion
    if 0 <= ratio < N_DROPS and is_of_class:
        ratio = N_RATIOS  # the test of the class shows the drop soon
    elif ratio < N_RATIOS:
        end_segment(state, 0, ratio, row, sample, events)
    has_changed = ratio < N_RATIOS
    for c in range(state.k):
        if 0 <= ratio < N_DROPS:
            restart(state, 1 + c, sample)
        elif state.classes[c].open_seen > 0.0:
            class_ratio = find_change(state, 1 + c, dispersion)
            if class_ratio < N_RATIOS and end_segment(
                state, 1 + c, class_ratio, row, sample, events
            ):
                has_changed = True
                restart(state, 0, sample)
    for c in range(state.k):
        counts = state.classes + c
        counts.open_seen = counts.open_wrong = counts.open_false = 0.0
        if has_changed:
            counts.seen = counts.wrong = 0.0


def test_samples(classes, series, sums, windows, squares, labels, predicted, rows):
    """Test more samples; return the events found.

    An event is a tuple: whether it is a drop, its row and sample, the row at which it was found,
    the levels before and after it, and the number of the series (0 for accuracy, 1 + label for a
    class).
    """
    cdef State state
    cdef const intptr_t* c_labels = <const intptr_t*>get_address(labels)
    cdef const intptr_t* c_predicted = <const intptr_t*>get_address(predicted)
    cdef const intptr_t* c_rows = <const intptr_t*>get_address(rows)
    cdef ptrdiff_t i, label, prediction, n = len(labels), n_open = 0
    events = []
    if n == 0:
        return events
    state.k = len(classes)
    state.classes, state.series = <Class*>get_address(classes), <Series*>get_address(series)
    state.sums, state.squares = <Sum*>get_address(sums), <double*>get_address(squares)
    state.excess = <double*>get_address(windows)
    state.variance = state.excess + N_LAST + 1
    for i in range(state.k):
        n_open += <ptrdiff_t>state.classes[i].open_seen
    for i in range(n):
        label, prediction = min(c_labels[i], state.k - 1), c_predicted[i]
        state.classes[label].open_seen += 1.0
        state.classes[label].open_wrong += c_labels[i] != prediction
        if prediction != label and prediction < state.k:
            state.classes[prediction].open_false += 1.0
        n_open += 1
        if n_open == BLOCK:
            n_open = 0
            test_block(&state, c_rows[i], events)
    return events
