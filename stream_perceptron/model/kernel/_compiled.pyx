# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The delta rule, compiled: what `numpy_kernel` does, with the loops of loops.h.

The update of a sample waits until the next one is there: then the weights are read once for both.
"""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cython cimport floating
from libc.float cimport DBL_EPSILON, DBL_MAX, FLT_EPSILON, FLT_MAX
from libc.math cimport atan, exp, fabs, isfinite, sqrt, tanh
from libc.stdint cimport int64_t, intptr_t, uint8_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

import numpy as np

from stream_perceptron.model.features import Sparse, Uint8
from stream_perceptron.model.kernel.types import Done, Outcome

__all__ = ["NAME", "fill", "learn", "learn_one", "net_one", "predict_one"]

_LEARNED, _DIVERGED, _NOT_PLAIN = Outcome

NAME = "compiled"

cdef extern from "loops.h" nogil:
    int LANES
    int BLOCK_BYTES
    void scaled_double(const uint8_t*, double, ptrdiff_t, double*)
    void scaled_float(const uint8_t*, double, ptrdiff_t, float*)
    void find_blocks_double(const double*, ptrdiff_t, uint8_t*)
    void find_blocks_float(const float*, ptrdiff_t, uint8_t*)
    void find_byte_blocks_double(const uint8_t*, ptrdiff_t, uint8_t*)
    void find_byte_blocks_float(const uint8_t*, ptrdiff_t, uint8_t*)
    void list_blocks_double(const uint8_t*, const uint8_t*, ptrdiff_t, ptrdiff_t*, ptrdiff_t*)
    void list_blocks_float(const uint8_t*, const uint8_t*, ptrdiff_t, ptrdiff_t*, ptrdiff_t*)
    void dots_double(const double*, ptrdiff_t, const double*, const ptrdiff_t*, const ptrdiff_t*,
                     ptrdiff_t, ptrdiff_t, double*)
    void dots_float(const float*, ptrdiff_t, const float*, const ptrdiff_t*, const ptrdiff_t*,
                    ptrdiff_t, ptrdiff_t, float*)
    void steps_and_dots_double(double*, ptrdiff_t, const double*, const double*, const double*,
                               const ptrdiff_t*, const ptrdiff_t*, ptrdiff_t, ptrdiff_t, double*)
    void steps_and_dots_float(float*, ptrdiff_t, const float*, const float*, const float*,
                              const ptrdiff_t*, const ptrdiff_t*, ptrdiff_t, ptrdiff_t, float*)
    void steps_double(double*, ptrdiff_t, const double*, const double*, const ptrdiff_t*,
                      const ptrdiff_t*, ptrdiff_t, ptrdiff_t)
    void steps_float(float*, ptrdiff_t, const float*, const float*, const ptrdiff_t*,
                     const ptrdiff_t*, ptrdiff_t, ptrdiff_t)
    void sparse_dots_double(const double*, ptrdiff_t, const intptr_t*, const double*, ptrdiff_t,
                            ptrdiff_t, double*)
    void sparse_dots_float(const float*, ptrdiff_t, const intptr_t*, const float*, ptrdiff_t,
                           ptrdiff_t, float*)
    void sparse_steps_double(double*, ptrdiff_t, const intptr_t*, const double*, const double*,
                             ptrdiff_t, ptrdiff_t)
    void sparse_steps_float(float*, ptrdiff_t, const intptr_t*, const float*, const float*,
                            ptrdiff_t, ptrdiff_t)
    void standardise_double(const double*, const double*, const double*, const double*, ptrdiff_t,
                            double*)
    void standardise_float(const double*, const double*, const double*, const double*, ptrdiff_t,
                           float*)
    double welford(const double*, const double*, const double*, const double*, ptrdiff_t, double*)

# Without the counting of references that Cython adds for objects.
cdef extern from "Python.h":
    bint PyFloat_CheckExact(PyObject*)
    bint PyLong_CheckExact(PyObject*)
    bint PyBool_Check(PyObject*)
    bint PyUnicode_CheckExact(PyObject*)
    double PyFloat_AS_DOUBLE(PyObject*)
    double PyLong_AsDouble(PyObject*) except? -1.0

cdef enum Function:
    SIGMOID, TANH, ARCTAN, IDENTITY

_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH, "arctan": ARCTAN, "identity": IDENTITY}


cdef struct Rule:
    Function function
    double low
    double high
    double epsilon
    bint stop


# As `features.wants_dense`. This is about speed alone: the bits are the same either way.
cdef inline bint _is_dense(ptrdiff_t n_nonzero, ptrdiff_t n_features) noexcept nogil:
    return n_features <= 1024 or n_nonzero * 8 >= n_features


cdef struct Blocks:
    # Whether each block of a row is not all zero, for two rows in turn, and a part of one.
    uint8_t* has[3]
    ptrdiff_t* starts  # of blocks to be read
    ptrdiff_t counts[16]


cdef void _find(Blocks* blocks, int turn, const floating* x, const uint8_t* bytes,
                ptrdiff_t d) noexcept nogil:
    """Find the blocks of row x, whose bytes may be known."""
    if floating is double:
        if bytes != NULL:
            find_byte_blocks_double(bytes, d, blocks.has[turn])
        else:
            find_blocks_double(x, d, blocks.has[turn])
    else:
        if bytes != NULL:
            find_byte_blocks_float(bytes, d, blocks.has[turn])
        else:
            find_blocks_float(x, d, blocks.has[turn])


cdef inline void _list(Blocks* blocks, int turn, const floating* x, ptrdiff_t d) noexcept nogil:
    """List the blocks of row x."""
    cdef uint8_t* has = blocks.has[turn]
    if floating is double:
        list_blocks_double(has, has, d, blocks.starts, blocks.counts)
    else:
        list_blocks_float(has, has, d, blocks.starts, blocks.counts)


cdef inline void _dots(const floating* W, ptrdiff_t stride, const floating* x, Blocks* blocks,
                       int turn, ptrdiff_t k, ptrdiff_t d, floating* out) noexcept nogil:
    _list(blocks, turn, x, d)
    if floating is double:
        dots_double(W, stride, x, blocks.starts, blocks.counts, k, d, out)
    else:
        dots_float(W, stride, x, blocks.starts, blocks.counts, k, d, out)


cdef inline void _steps_and_dots(floating* W, ptrdiff_t stride, const floating* x,
                                 const floating* steps, const floating* following, Blocks* blocks,
                                 ptrdiff_t k, ptrdiff_t d, floating* out) noexcept nogil:
    if floating is double:
        list_blocks_double(blocks.has[0], blocks.has[1], d, blocks.starts, blocks.counts)
        steps_and_dots_double(
            W, stride, x, steps, following, blocks.starts, blocks.counts, k, d, out
        )
    else:
        list_blocks_float(blocks.has[0], blocks.has[1], d, blocks.starts, blocks.counts)
        steps_and_dots_float(
            W, stride, x, steps, following, blocks.starts, blocks.counts, k, d, out
        )


cdef inline void _sparse_dots(const floating* W, ptrdiff_t stride, const intptr_t* columns,
                              const floating* x, ptrdiff_t k, ptrdiff_t m,
                              floating* out) noexcept nogil:
    if floating is double:
        sparse_dots_double(W, stride, columns, x, k, m, out)
    else:
        sparse_dots_float(W, stride, columns, x, k, m, out)


cdef inline void _steps(floating* W, ptrdiff_t stride, const floating* x, const floating* steps,
                        Blocks* blocks, int turn, ptrdiff_t k, ptrdiff_t d) noexcept nogil:
    cdef uint8_t* has = blocks.has[turn]
    if floating is double:
        list_blocks_double(has, has, d, blocks.starts, blocks.counts)
        steps_double(W, stride, x, steps, blocks.starts, blocks.counts, k, d)
    else:
        list_blocks_float(has, has, d, blocks.starts, blocks.counts)
        steps_float(W, stride, x, steps, blocks.starts, blocks.counts, k, d)


cdef inline void _sparse_steps(floating* W, ptrdiff_t stride, const intptr_t* columns,
                               const floating* x, const floating* steps, ptrdiff_t k,
                               ptrdiff_t m) noexcept nogil:
    if floating is double:
        sparse_steps_double(W, stride, columns, x, steps, k, m)
    else:
        sparse_steps_float(W, stride, columns, x, steps, k, m)


cdef inline void _scaled(const uint8_t* bytes, double scale, ptrdiff_t d,
                         floating* x) noexcept nogil:
    if floating is double:
        scaled_double(bytes, scale, d, x)
    else:
        scaled_float(bytes, scale, d, x)


cdef double _reach(const floating* x, const Blocks* blocks, const intptr_t* columns,
                   ptrdiff_t m) noexcept nogil:
    """Return the length of x, or infinity, which no |x| exceeds; `blocks` are those of x at least.
    """
    cdef floating squares = 0
    cdef ptrdiff_t i
    if columns != NULL:
        for i in range(m):
            squares += x[i] * x[i]
    elif floating is double:
        dots_double(x, 0, x, blocks.starts, blocks.counts, 1, m, &squares)
    else:
        dots_float(x, 0, x, blocks.starts, blocks.counts, 1, m, &squares)
    return sqrt(squares)


cdef inline double _activate(Function function, double net, double* slope) noexcept nogil:
    """Return f(net), and write f'(net)."""
    cdef double y
    if function == SIGMOID:
        y = 1.0 / (1.0 + exp(-net))
        slope[0] = (1.0 - y) * y
    elif function == TANH:
        y = tanh(net)
        slope[0] = 1.0 - y * y
    elif function == ARCTAN:
        y = atan(net)
        slope[0] = 1.0 / (1.0 + net * net)
    else:
        y = net
        slope[0] = 1.0
    return y


cdef bint _would_be_finite(const floating* W, ptrdiff_t stride, const floating* biases,
                           const floating* x, const intptr_t* columns, const floating* steps,
                           ptrdiff_t k, ptrdiff_t m) noexcept nogil:
    """Whether all weights are finite after the steps."""
    cdef ptrdiff_t i, j
    cdef const floating* w
    for j in range(k):
        w = W + j * stride
        if not isfinite(<floating>(biases[j] + steps[j])):
            return False
        for i in range(m):
            if not isfinite(<floating>(w[columns[i] if columns != NULL else i] + steps[j] * x[i])):
                return False
    return True


cdef bint _test(const Rule* rule, const floating* net, ptrdiff_t k, intptr_t target,
                double* slopes, double* delta, double* eps) noexcept nogil:
    """Write eps, and what it comes from, for a sample; return whether it is finite."""
    cdef ptrdiff_t j
    cdef double y, total = 0.0
    cdef bint finite = True
    for j in range(k):
        finite = finite and isfinite(net[j])
        y = _activate(rule.function, net[j], &slopes[j])
        delta[j] = (rule.high if j == target else rule.low) - y
        total += delta[j] * delta[j]
    eps[0] = 0.5 * total
    return finite and isfinite(eps[0])


cdef struct Samples:
    ptrdiff_t n, k, d  # n rows of d features, k outputs
    const intptr_t* starts  # of sparse rows, or NULL: their columns ascend
    const intptr_t* columns
    const uint8_t* bytes  # the rows as bytes to be scaled, or NULL
    double scale
    const intptr_t* targets
    const double* sample_weights
    const double* rates
    double* eps
    uint8_t* updated
    int64_t* counts
    double* last
    double* statistics  # of a scaler, or NULL: counts, means and variances, each so far apart
    ptrdiff_t apart
    const intptr_t* widths  # of rows that bring features, or NULL; see `Block`
    void* tests


cdef struct Scratch:
    double* slopes
    double* delta
    void* steps
    void* nets  # of one sample
    # For rows of bytes, scaled rows, and sparse ones that become dense; and for a part of one.
    void* rows[3]
    double* before  # statistics of a row, if they are scaled
    double* after
    void* values
    intptr_t* places
    Blocks blocks


cdef char* _make_scratch(Scratch* scratch, const Samples* samples, size_t size) except NULL:
    """Allocate what `_learn` needs for numbers of some size; to be freed by the caller."""
    cdef size_t k = samples.k, d = samples.d, n_blocks = samples.d * size // BLOCK_BYTES
    cdef bint is_scaled = samples.statistics != NULL
    cdef bint copies = (
        samples.bytes != NULL or samples.starts != NULL or is_scaled or samples.widths != NULL
    )
    cdef size_t gathered = d if samples.starts == NULL and d > 1024 and not is_scaled else 0
    cdef size_t statistics = 3 * d if is_scaled else 0
    cdef size_t row = (n_blocks + 1) * BLOCK_BYTES if copies else 0
    cdef char* start = <char*>malloc(
        BLOCK_BYTES
        + 3 * row
        + 2 * statistics * sizeof(double)
        + k * 2 * sizeof(double)
        + gathered * sizeof(intptr_t)
        + (n_blocks + 1) * sizeof(ptrdiff_t)
        + (2 * k + gathered) * size
        + 3 * n_blocks
    )
    if start == NULL:
        raise MemoryError
    # Rows begin with a cache line.
    scratch.rows[0] = start + BLOCK_BYTES - <size_t>start % BLOCK_BYTES
    scratch.rows[1] = <char*>scratch.rows[0] + row
    scratch.rows[2] = <char*>scratch.rows[1] + row
    scratch.before = <double*>(<char*>scratch.rows[2] + row)
    scratch.after = scratch.before + statistics
    scratch.slopes = scratch.after + statistics
    scratch.delta = scratch.slopes + k
    scratch.places = <intptr_t*>(scratch.delta + k)
    scratch.blocks.starts = <ptrdiff_t*>(scratch.places + gathered)
    cdef char* rest = <char*>(scratch.blocks.starts + n_blocks + 1)
    scratch.values = rest
    scratch.steps = rest + gathered * size
    scratch.nets = rest + (gathered + k) * size
    scratch.blocks.has[0] = <uint8_t*>(rest + (gathered + 2 * k) * size)
    scratch.blocks.has[1] = scratch.blocks.has[0] + n_blocks
    scratch.blocks.has[2] = scratch.blocks.has[1] + n_blocks
    return start


cdef struct Row:
    const uint8_t* bytes  # of a dense row, if it comes from them
    const intptr_t* at  # the columns of a sparse row; NULL for all
    ptrdiff_t width


cdef const floating* _row(const floating* X, const Samples* samples, Scratch* scratch,
                          ptrdiff_t i, ptrdiff_t width, Row* row) noexcept nogil:
    """Return the values of a row up to a width, dense or sparse, whichever is less work."""
    cdef ptrdiff_t c, count = 0, d = samples.d
    cdef const floating* x
    cdef floating* copy = <floating*>scratch.rows[i & 1]
    cdef floating* values = <floating*>scratch.values
    row.bytes = NULL
    row.at = NULL
    row.width = d
    if samples.starts != NULL:
        row.at = samples.columns + samples.starts[i]
        row.width = samples.starts[i + 1] - samples.starts[i]
        x = X + samples.starts[i]
        if not _is_dense(row.width, d):
            row.width = _up_to(row.at, row.width, width)
            return x
        memset(copy, 0, d * sizeof(floating))
        for c in range(row.width):
            if row.at[c] < width:
                copy[row.at[c]] = x[c]
        row.at = NULL
        row.width = d
        return copy
    if samples.bytes != NULL:
        row.bytes = samples.bytes + i * d
        _scaled(row.bytes, samples.scale, d, copy)
        x = copy
    else:
        x = X + i * d
    if width < d:
        if samples.bytes == NULL:
            memcpy(copy, x, width * sizeof(floating))
        memset(copy + width, 0, (d - width) * sizeof(floating))
        row.bytes = NULL
        x = copy
    if d <= 1024:
        return x
    for c in range(d):
        if x[c] != 0:
            scratch.places[count] = c
            values[count] = x[c]
            count += 1
    if _is_dense(count, d):
        return x
    row.at = scratch.places
    row.width = count
    return values


cdef inline ptrdiff_t _up_to(const intptr_t* columns, ptrdiff_t m, ptrdiff_t width) noexcept nogil:
    """Return how many of m ascending columns are below a width."""
    while m > 0 and columns[m - 1] >= width:
        m -= 1
    return m


cdef void _test_narrow(const floating* W, ptrdiff_t stride, const floating* biases,
                       const floating* x, const intptr_t* columns, ptrdiff_t m, ptrdiff_t width,
                       ptrdiff_t k, ptrdiff_t d, Scratch* scratch, floating* net) noexcept nogil:
    """Write the net inputs of a row by the weights of the features up to a width."""
    cdef ptrdiff_t j
    cdef floating* part = <floating*>scratch.rows[2]
    if columns != NULL:
        _sparse_dots(W, stride, columns, x, k, _up_to(columns, m, width), net)
    else:
        memcpy(part, x, width * sizeof(floating))
        memset(part + width, 0, (d - width) * sizeof(floating))
        _find(&scratch.blocks, 2, part, NULL, d)
        _dots(W, stride, part, &scratch.blocks, 2, k, d, net)
    for j in range(k):
        net[j] += biases[j]


cdef ptrdiff_t _learn(floating* W, ptrdiff_t stride, floating* biases, const floating* X,
                      const Samples* samples, const Rule* rule, Scratch* scratch, floating* nets,
                      bint* diverged) noexcept nogil:
    """Learn rows X, or those of `samples.bytes`; return how many."""
    cdef ptrdiff_t i, j, k = samples.k, d = samples.d, n_updates = 0
    cdef int turn = 0
    cdef Row row
    cdef const floating* x
    cdef const floating* waiting = NULL  # a dense row whose update waits
    cdef floating* steps = <floating*>scratch.steps
    cdef double* delta = scratch.delta
    cdef floating* net
    cdef floating* test = <floating*>samples.tests
    cdef ptrdiff_t width = d
    cdef double rate, largest, safe
    cdef double reach
    if floating is double:
        safe = DBL_MAX * DBL_EPSILON / 8
    else:
        safe = FLT_MAX * FLT_EPSILON / 8
    diverged[0] = False
    for i in range(samples.n):
        turn = i & 1
        if samples.widths != NULL:
            width = samples.widths[i + 1]
        x = _row(X, samples, scratch, i, width, &row)
        net = nets + i * k
        if row.at == NULL:
            _find(&scratch.blocks, turn, x, row.bytes, d)
            if waiting != NULL:
                _steps_and_dots(W, stride, waiting, steps, x, &scratch.blocks, k, d, net)
            else:
                _dots(W, stride, x, &scratch.blocks, turn, k, d, net)
        else:
            if waiting != NULL:
                _steps(W, stride, waiting, steps, &scratch.blocks, 1 - turn, k, d)
            _sparse_dots(W, stride, row.at, x, k, row.width, net)
        waiting = NULL
        if samples.widths != NULL and samples.widths[i] < width:
            _test_narrow(
                W, stride, biases, x, row.at, row.width, samples.widths[i], k, d, scratch, test
            )
            test += k
            if row.at == NULL:
                _list(&scratch.blocks, turn, <const floating*>x, d)
        for j in range(k):
            net[j] += biases[j]
        if samples.targets[i] < 0:
            continue
        if not _test(rule, net, k, samples.targets[i], scratch.slopes, delta, &samples.eps[i]):
            diverged[0] = True
            return i
        if samples.eps[i] < rule.epsilon:
            samples.last[0] = samples.eps[i]
            samples.counts[0] += 1
            if rule.stop:
                return i + 1
            continue
        rate = samples.rates[n_updates] * samples.sample_weights[i]
        largest = 0.0
        for j in range(k):
            steps[j] = <floating>(rate * (delta[j] * scratch.slopes[j]))
            largest = max(largest, fabs(steps[j]))
        reach = 255.0 * fabs(samples.scale)
        if row.bytes == NULL:
            reach = _reach(x, &scratch.blocks, row.at, row.width)
        # An increment below half the spacing of the largest numbers cannot make a finite weight
        # overflow.
        if not (isfinite(rate) and largest * (1.0 + reach) < safe) and not _would_be_finite(
            W, stride, biases, x, row.at, steps, k, row.width
        ):
            diverged[0] = True
            return i
        for j in range(k):
            biases[j] += steps[j]
        if row.at == NULL:
            waiting = x
        else:
            _sparse_steps(W, stride, row.at, x, steps, k, row.width)
        samples.updated[i] = True
        samples.last[0] = samples.eps[i]
        samples.counts[0] += 1
        samples.counts[1] += 1
        n_updates += 1
    if waiting != NULL:
        _steps(W, stride, waiting, steps, &scratch.blocks, turn, k, d)
    return samples.n


cdef const floating* _standardised(const double* x, const double* statistics, ptrdiff_t apart,
                                   const intptr_t* columns, ptrdiff_t m, ptrdiff_t d, bint dense,
                                   floating* row, floating* sparse) noexcept nogil:
    """Return a row scaled by statistics of its m features, over all d columns if it is `dense`."""
    cdef floating* z = row if columns == NULL else sparse
    cdef ptrdiff_t i
    if floating is double:
        standardise_double(x, statistics, statistics + apart, statistics + 2 * apart, m, z)
    else:
        standardise_float(x, statistics, statistics + apart, statistics + 2 * apart, m, z)
    if columns == NULL:
        memset(row + m, 0, (d - m) * sizeof(floating))
    if columns == NULL or not dense:
        return z
    memset(row, 0, d * sizeof(floating))
    for i in range(m):
        row[columns[i]] = z[i]
    return row


cdef ptrdiff_t _learn_scaled(floating* W, ptrdiff_t stride, floating* biases, const double* X,
                             const Samples* samples, const Rule* rule, Scratch* scratch,
                             floating* nets, bint* diverged) noexcept nogil:
    """Learn rows X as a scaler makes them, before and after it counts each; return how many."""
    cdef ptrdiff_t i, j, part, m, width, apart, k = samples.k, d = samples.d, n_updates = 0
    cdef const double* x
    cdef const intptr_t* columns
    cdef const intptr_t* at  # the columns of a row that is computed as a sparse one, or NULL
    cdef const floating* z
    cdef const double* before
    cdef floating* net
    cdef floating* test = <floating*>samples.tests
    cdef ptrdiff_t total = d
    cdef floating* row = <floating*>scratch.rows[0]
    cdef floating* sparse = <floating*>scratch.rows[1]
    cdef floating* steps = <floating*>scratch.steps
    cdef double* delta = scratch.delta
    cdef double rate, largest, safe
    cdef bint updates
    if floating is double:
        safe = DBL_MAX * DBL_EPSILON / 8
    else:
        safe = FLT_MAX * FLT_EPSILON / 8
    diverged[0] = False
    for i in range(samples.n):
        columns = NULL
        if samples.widths != NULL:
            total = samples.widths[i + 1]
        x, m = X + i * d, total
        before, apart = samples.statistics, samples.apart
        if samples.starts != NULL:
            columns = samples.columns + samples.starts[i]
            m = _up_to(columns, samples.starts[i + 1] - samples.starts[i], total)
            x = X + samples.starts[i]
            for part in range(3):
                for j in range(m):
                    scratch.before[part * m + j] = samples.statistics[
                        part * samples.apart + columns[j]
                    ]
            before, apart = scratch.before, m
        at = NULL if columns == NULL or _is_dense(m, d) else columns
        width = d if at == NULL else m
        z = _standardised(x, before, apart, columns, m, d, at == NULL, row, sparse)
        net = nets + i * k
        _net(W, stride, biases, z, at, width, k, d, scratch, net)
        if samples.widths != NULL and samples.widths[i] < total:
            _test_narrow(
                W, stride, biases, z, at, width, samples.widths[i], k, d, scratch, test
            )
            test += k
        if samples.targets[i] < 0:
            continue
        if welford(x, before, before + apart, before + 2 * apart, m, scratch.after) != 0.0:
            diverged[0] = True
            return i
        z = _standardised(x, scratch.after, m, columns, m, d, at == NULL, row, sparse)
        net = <floating*>scratch.nets
        _net(W, stride, biases, z, at, width, k, d, scratch, net)
        if not _test(rule, net, k, samples.targets[i], scratch.slopes, delta, &samples.eps[i]):
            diverged[0] = True
            return i
        updates = samples.eps[i] >= rule.epsilon
        if updates:
            rate = samples.rates[n_updates] * samples.sample_weights[i]
            largest = 0.0
            for j in range(k):
                steps[j] = <floating>(rate * (delta[j] * scratch.slopes[j]))
                largest = max(largest, fabs(steps[j]))
            if not (
                isfinite(rate)
                and largest * (1.0 + _reach(z, &scratch.blocks, at, width)) < safe
            ) and not _would_be_finite(W, stride, biases, z, at, steps, k, width):
                diverged[0] = True
                return i
            for j in range(k):
                biases[j] += steps[j]
            if at == NULL:
                _steps(W, stride, z, steps, &scratch.blocks, 0, k, d)
            else:
                _sparse_steps(W, stride, at, z, steps, k, m)
            samples.updated[i] = True
            n_updates += 1
        for part in range(3):
            for j in range(m):
                samples.statistics[
                    part * samples.apart + (j if columns == NULL else columns[j])
                ] = scratch.after[part * m + j]
        samples.last[0] = samples.eps[i]
        samples.counts[0] += 1
        samples.counts[1] += updates
        if rule.stop and not updates:
            return i + 1
    return samples.n


cdef inline void _net(const floating* W, ptrdiff_t stride, const floating* biases,
                      const floating* x, const intptr_t* columns, ptrdiff_t width, ptrdiff_t k,
                      ptrdiff_t d, Scratch* scratch, floating* net) noexcept nogil:
    """Write the net inputs of a row; its blocks stay in the scratch."""
    cdef ptrdiff_t j
    if columns == NULL:
        _find(&scratch.blocks, 0, x, NULL, d)
        _dots(W, stride, x, &scratch.blocks, 0, k, d, net)
    else:
        _sparse_dots(W, stride, columns, x, k, width, net)
    for j in range(k):
        net[j] += biases[j]


cdef void* _address(array) except NULL:
    """Return where the numbers of an array begin; cheaper than a memoryview of it."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)  # the caller holds the array
    return view.buf


cdef Rule _rule(activation, double epsilon, bint stop):
    cdef Rule rule
    rule.function = _FUNCTIONS[activation.name]
    rule.low = activation.low
    rule.high = activation.high
    rule.epsilon = epsilon
    rule.stop = stop
    return rule


# `like` only says of which type the arrays are.
cdef _learn_block(floating* like, weights, biases, features, rule, block, counters, scaler):
    cdef Rule c_rule = _rule(rule.activation, rule.epsilon, rule.stop)
    cdef Samples samples
    cdef Scratch scratch
    cdef ptrdiff_t done
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    cdef bint diverged = False
    cdef floating* x = NULL
    samples.n = len(features)
    samples.k = len(biases)
    samples.d = weights.shape[1]
    if samples.n == 0 or samples.k == 0:
        return Done(samples.n, False)
    samples.bytes = NULL
    samples.scale = 0.0
    samples.starts = NULL
    samples.statistics = NULL
    samples.widths = NULL
    samples.tests = NULL
    if block.widths is not None:
        samples.widths = <intptr_t*>_address(block.widths)
        samples.tests = _address(block.tests)
    values = np.require(features.values, requirements="CA")
    if isinstance(features, Sparse):
        columns, starts = features.columns, features.starts
        samples.columns = <intptr_t*>_address(columns)
        samples.starts = <intptr_t*>_address(starts)
        x = <floating*>_address(values)
    elif isinstance(features, Uint8):
        samples.scale = features.scale
        samples.bytes = <uint8_t*>_address(values)
    else:
        x = <floating*>_address(values)
    if scaler is not None:
        samples.statistics = <double*>_address(scaler.table)
        samples.apart = len(scaler)
    samples.targets = <intptr_t*>_address(block.targets)
    samples.sample_weights = <double*>_address(block.sample_weights)
    samples.rates = <double*>_address(block.rates)
    samples.eps = <double*>_address(block.eps)
    samples.updated = <uint8_t*>_address(block.updated)
    samples.counts = <int64_t*>_address(counters.counts)
    samples.last = <double*>_address(counters.last)
    cdef floating* W = <floating*>_address(weights)
    cdef floating* b = <floating*>_address(biases)
    cdef floating* nets = <floating*>_address(block.nets)
    cdef char* start = _make_scratch(&scratch, &samples, sizeof(floating))
    with nogil:
        if samples.statistics != NULL:
            done = _learn_scaled(
                W, stride, b, <double*>x, &samples, &c_rule, &scratch, nets, &diverged
            )
        else:
            done = _learn(W, stride, b, x, &samples, &c_rule, &scratch, nets, &diverged)
        free(start)
    return Done(done, diverged)


def learn(weights, biases, features, rule, block, counters, scaler=None):
    """Predict from and learn rows of features, one after another; as `numpy_kernel.learn`."""
    if weights.dtype.char == "d":
        return _learn_block[double](NULL, weights, biases, features, rule, block, counters, scaler)
    return _learn_block[float](NULL, weights, biases, features, rule, block, counters, scaler)


cdef bint _forward(const floating* W, ptrdiff_t stride, const floating* biases,
                   const floating* x, const intptr_t* columns, ptrdiff_t k, ptrdiff_t m,
                   floating* out) noexcept nogil:
    """Write the net inputs of a sample; return whether there was memory to do so."""
    cdef ptrdiff_t j, n_blocks = m * <ptrdiff_t>sizeof(floating) // BLOCK_BYTES
    cdef Blocks blocks
    cdef char* start
    if columns != NULL:
        _sparse_dots(W, stride, columns, x, k, m, out)
    else:
        start = <char*>malloc((n_blocks + 1) * sizeof(ptrdiff_t) + n_blocks)
        if start == NULL:
            return False
        blocks.starts = <ptrdiff_t*>start
        blocks.has[0] = <uint8_t*>(blocks.starts + n_blocks + 1)
        _find(&blocks, 0, x, NULL, m)
        _dots(W, stride, x, &blocks, 0, k, m, out)
        free(start)
    for j in range(k):
        out[j] += biases[j]
    return True


cdef inline bint _as_number(PyObject* value, double* number) except -1:
    """Write a plain number or bool as a double; return whether it is one."""
    if PyFloat_CheckExact(value):
        number[0] = PyFloat_AS_DOUBLE(value)
    elif PyLong_CheckExact(value) or PyBool_Check(value):
        try:
            number[0] = PyLong_AsDouble(value)
        except OverflowError:
            return False
    else:
        return False
    return True


def fill(list values, numbers):
    """Write values as doubles, as long as all are plain, finite numbers; return whether they are."""
    cdef double* out = <double*>_address(numbers)
    cdef Py_ssize_t i
    for i in range(len(values)):
        if not _as_number(PyList_GET_ITEM(values, i), &out[i]) or not isfinite(out[i]):
            return False
    return True


cdef struct Cell:
    intptr_t column
    double value


cdef int _compare(const void* one, const void* other) noexcept nogil:
    cdef intptr_t a = (<const Cell*>one).column, b = (<const Cell*>other).column
    return (a > b) - (a < b)


# A dict of features, put in place. `columns` is NULL if there is a value for each column.
cdef struct Placed:
    char* memory  # to be freed
    intptr_t* columns
    void* values
    ptrdiff_t m


cdef bint _place(floating* like, Placed* placed, dict x, list names, dict numbers,
                 ptrdiff_t d) except -1:
    """Place a dict of features; return whether all are known, and plain, finite numbers.

    If so, the caller frees the memory.
    """
    cdef bint is_plain = False
    placed.memory = NULL
    try:
        is_plain = _read(like, placed, x, names, numbers, d)
    finally:
        if not is_plain:
            free(placed.memory)
            placed.memory = NULL
    return is_plain


cdef bint _read(floating* like, Placed* placed, dict x, list names, dict numbers,
                ptrdiff_t d) except -1:
    cdef Py_ssize_t position = 0, i = 0, m = PyDict_Size(x)
    cdef bint dense = _is_dense(m, d), ascending = True
    cdef PyObject* key
    cdef PyObject* value
    cdef double number
    cdef floating cell
    cdef intptr_t column, before = -1
    placed.memory = <char*>malloc(
        (d * sizeof(floating)) if dense
        else m * (sizeof(Cell) + sizeof(intptr_t) + sizeof(floating))
    )
    if placed.memory == NULL:
        raise MemoryError
    cdef Cell* cells = <Cell*>placed.memory
    cdef floating* values = <floating*>placed.memory
    if dense and m < d:
        memset(values, 0, d * sizeof(floating))
    while PyDict_Next(x, &position, &key, &value):
        if i >= m:
            return False
        if not _as_number(value, &number):
            return False
        if i < PyList_GET_SIZE(names) and key == PyList_GET_ITEM(names, i):
            column = i
        else:
            # Other keys may run code of their own, which could change the dict or the model.
            if not PyUnicode_CheckExact(key) and not PyLong_CheckExact(key):
                return False
            column = _column_of(<object>key, numbers)
            if PyDict_Size(x) != m:
                return False
        cell = <floating>number
        if column < 0 or column >= d or not isfinite(cell):
            return False
        if dense:
            values[column] = cell
        else:
            ascending = ascending and column > before
            before = column
            cells[i].column = column
            cells[i].value = cell
        i += 1
    if i != m:
        return False
    if dense:
        placed.columns = NULL
        placed.values = values
        placed.m = d
        return True
    if not ascending:
        qsort(cells, m, sizeof(Cell), _compare)
    placed.columns = <intptr_t*>(cells + m)
    placed.values = placed.columns + m
    placed.m = m
    values = <floating*>placed.values
    for i in range(m):
        placed.columns[i] = cells[i].column
        values[i] = <floating>cells[i].value
    return True


cdef intptr_t _column_of(key, dict numbers) except -2:
    """Return the column of a name, -1 if it is not known."""
    number = numbers.get(key)
    return -1 if number is None else number


cdef bint _forward_dict(floating* net, dict x, list names, dict numbers, weights,
                        biases) except -1:
    """Write the net inputs of a dict of features; return whether it was plain."""
    cdef Placed placed
    cdef bint is_done
    cdef ptrdiff_t d = weights.shape[1]
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    if not _place(net, &placed, x, names, numbers, d):
        return False
    is_done = _forward(
        <floating*>_address(weights), stride, <floating*>_address(biases),
        <floating*>placed.values, placed.columns, len(biases), placed.m, net,
    )
    free(placed.memory)
    if not is_done:
        raise MemoryError
    return True


cdef bint _is_plain(x, weights):
    return type(x) is dict and len(x) <= weights.shape[1] and len(weights) > 0


cdef ptrdiff_t _argmax(const floating* net, ptrdiff_t k) noexcept:
    cdef ptrdiff_t j, best = 0
    for j in range(k):
        if net[j] != net[j]:  # NumPy takes NaN for the largest
            return j
        if net[j] > net[best]:
            best = j
    return best


def net_one(x, names, numbers, weights, biases):
    """Return the net inputs (k,) of a dict of features.

    Parameters
    ----------
    x
        The features.
    names
        The names that are known, a list.
    numbers
        Their columns, a dict.
    weights, biases
        The model, shapes (k, d) and (k,).

    Returns
    -------
    None if x is no dict, a name is not known, a value is no plain, finite number, or k is 0.

    """
    if not _is_plain(x, weights):
        return None
    out = np.empty_like(biases)
    cdef void* net = _address(out)
    if weights.dtype.char == "d":
        return out if _forward_dict(<double*>net, x, names, numbers, weights, biases) else None
    return out if _forward_dict(<float*>net, x, names, numbers, weights, biases) else None


def predict_one(x, names, numbers, weights, biases):
    """Return the output with the largest net input, the first of equals; -1 where `net_one` None.
    """
    if not _is_plain(x, weights):
        return -1
    cdef ptrdiff_t k = len(biases)
    cdef double* net = <double*>malloc(k * sizeof(double))
    if net == NULL:
        raise MemoryError
    try:
        if weights.dtype.char == "d":
            if _forward_dict(net, x, names, numbers, weights, biases):
                return _argmax(net, k)
        elif _forward_dict(<float*>net, x, names, numbers, weights, biases):
            return _argmax(<float*>net, k)
        return -1
    finally:
        free(net)


cdef _learn_dict(floating* like, dict x, list names, dict numbers, weights, biases, lr,
                 const Rule* rule, Samples* samples):
    cdef Placed placed
    cdef Scratch scratch
    cdef bint diverged = False
    cdef char* start = NULL
    cdef intptr_t starts[2]
    cdef double rate
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    samples.n = 1
    samples.k = len(biases)
    samples.d = weights.shape[1]
    samples.rates = &rate
    samples.bytes = NULL
    samples.scale = 0.0
    samples.starts = NULL
    samples.statistics = NULL
    samples.widths = NULL
    samples.tests = NULL
    if not _place(like, &placed, x, names, numbers, samples.d):
        return _NOT_PLAIN
    try:
        rate = lr if isinstance(lr, float) else lr()
        if placed.columns != NULL:
            starts[0] = 0
            starts[1] = placed.m
            samples.starts = starts
            samples.columns = placed.columns
        start = _make_scratch(&scratch, samples, sizeof(floating))
        _learn(
            <floating*>_address(weights), stride, <floating*>_address(biases),
            <floating*>placed.values, samples, rule, &scratch, <floating*>scratch.nets,
            &diverged,
        )
        return _DIVERGED if diverged else _LEARNED
    finally:
        free(start)
        free(placed.memory)


def learn_one(x, names, numbers, weights, biases, rule, intptr_t target, double weight,
              lr, counters):
    """Learn a dict of features with the output that stands for its label.

    Parameters
    ----------
    x, names, numbers, weights, biases
        As for `net_one`.
    rule, counters
        As for `learn`.
    target, weight
        As in a `Block`.
    lr
        The learning rate, or what to call for it once the sample is known to be plain.

    Returns
    -------
    What became of it.

    """
    cdef Rule c_rule = _rule(rule.activation, rule.epsilon, False)
    cdef Samples samples
    cdef double eps = 0.0
    cdef uint8_t updated = False
    if not _is_plain(x, weights) or target >= len(biases):
        return _NOT_PLAIN
    samples.targets = &target
    samples.sample_weights = &weight
    samples.eps = &eps
    samples.updated = &updated
    samples.counts = <int64_t*>_address(counters.counts)
    samples.last = <double*>_address(counters.last)
    if weights.dtype.char == "d":
        return _learn_dict[double](
            NULL, x, names, numbers, weights, biases, lr, &c_rule, &samples
        )
    return _learn_dict[float](NULL, x, names, numbers, weights, biases, lr, &c_rule, &samples)
