# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The delta rule, compiled: what `_numpy_kernel` does, with the loops of lanes.h.

The update of a sample waits until the next one is there: then the weights are read once for both.
"""

from cpython.bool cimport PyBool_Check
from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_GET_ITEM
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cython cimport floating
from libc.float cimport DBL_EPSILON, DBL_MAX, FLT_EPSILON, FLT_MAX
from libc.math cimport atan, exp, fabs, isfinite, tanh
from libc.stdint cimport intptr_t, uint8_t
from libc.stdlib cimport free, malloc

import numpy as np

__all__ = ["NAME", "fill", "forward", "learn_rows", "learn_sparse", "place", "wants_dense"]

NAME = "compiled"

cdef extern from "lanes.h" nogil:
    void dots_double(const double*, ptrdiff_t, const double*, ptrdiff_t, ptrdiff_t, double*)
    void dots_float(const float*, ptrdiff_t, const float*, ptrdiff_t, ptrdiff_t, float*)
    void steps_double(double*, ptrdiff_t, const double*, const double*, ptrdiff_t, ptrdiff_t)
    void steps_float(float*, ptrdiff_t, const float*, const float*, ptrdiff_t, ptrdiff_t)
    void steps_and_dots_double(double*, ptrdiff_t, const double*, const double*, const double*,
                               ptrdiff_t, ptrdiff_t, double*)
    void steps_and_dots_float(float*, ptrdiff_t, const float*, const float*, const float*,
                              ptrdiff_t, ptrdiff_t, float*)
    double reach_double(const double*, ptrdiff_t)
    float reach_float(const float*, ptrdiff_t)
    void sparse_dots_double(const double*, ptrdiff_t, const intptr_t*, const double*, ptrdiff_t,
                            ptrdiff_t, double*)
    void sparse_dots_float(const float*, ptrdiff_t, const intptr_t*, const float*, ptrdiff_t,
                           ptrdiff_t, float*)
    void sparse_steps_double(double*, ptrdiff_t, const intptr_t*, const double*, const double*,
                             ptrdiff_t, ptrdiff_t)
    void sparse_steps_float(float*, ptrdiff_t, const intptr_t*, const float*, const float*,
                            ptrdiff_t, ptrdiff_t)

cdef extern from "Python.h":
    double PyLong_AsDouble(object) except? -1.0

cdef enum Function:
    SIGMOID, TANH, ARCTAN, IDENTITY

_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH, "arctan": ARCTAN, "identity": IDENTITY}


cdef struct Rule:
    Function function
    double low
    double high
    double epsilon
    bint stop


cdef inline bint _is_dense(ptrdiff_t n_nonzero, ptrdiff_t n_features) noexcept nogil:
    return n_features <= 1024 or n_nonzero * 8 >= n_features


def wants_dense(n_nonzero, n_features):
    """Whether a sample with `n_nonzero` of `n_features` is computed as a dense row.

    This is about speed alone: the bits are the same either way.
    """
    return bool(_is_dense(n_nonzero, n_features))


cdef inline void _dots(const floating* W, ptrdiff_t stride, const floating* x,
                       const intptr_t* columns, ptrdiff_t k, ptrdiff_t m,
                       floating* out) noexcept nogil:
    if floating is double:
        if columns == NULL:
            dots_double(W, stride, x, k, m, out)
        else:
            sparse_dots_double(W, stride, columns, x, k, m, out)
    else:
        if columns == NULL:
            dots_float(W, stride, x, k, m, out)
        else:
            sparse_dots_float(W, stride, columns, x, k, m, out)


cdef inline void _steps(floating* W, ptrdiff_t stride, const floating* x, const intptr_t* columns,
                        const floating* steps, ptrdiff_t k, ptrdiff_t m) noexcept nogil:
    if floating is double:
        if columns == NULL:
            steps_double(W, stride, x, steps, k, m)
        else:
            sparse_steps_double(W, stride, columns, x, steps, k, m)
    else:
        if columns == NULL:
            steps_float(W, stride, x, steps, k, m)
        else:
            sparse_steps_float(W, stride, columns, x, steps, k, m)


cdef inline void _steps_and_dots(floating* W, ptrdiff_t stride, const floating* x,
                                 const floating* steps, const floating* following, ptrdiff_t k,
                                 ptrdiff_t d, floating* out) noexcept nogil:
    if floating is double:
        steps_and_dots_double(W, stride, x, steps, following, k, d, out)
    else:
        steps_and_dots_float(W, stride, x, steps, following, k, d, out)


cdef inline double _reach(const floating* x, ptrdiff_t m) noexcept nogil:
    if floating is double:
        return reach_double(x, m)
    return reach_float(x, m)


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


cdef ptrdiff_t _learn(floating* W, ptrdiff_t stride, floating* biases, const floating* X,
                      ptrdiff_t x_stride, const intptr_t* columns, ptrdiff_t n, ptrdiff_t k,
                      ptrdiff_t m, bint may_skip, const Rule* rule, const intptr_t* targets,
                      const double* sample_weights, const double* rates, floating* nets,
                      double* eps, uint8_t* updated, double* slopes, double* delta,
                      floating* steps, intptr_t* places, floating* values,
                      bint* diverged) noexcept nogil:
    """Learn n rows of m features at `columns`, or at all if that is NULL.

    With `may_skip` each row is gathered where it is not zero, if that pays.
    """
    cdef ptrdiff_t i, j, c, count, width, n_updates = 0
    cdef const floating* x
    cdef const floating* waiting = NULL  # a dense row whose update waits
    cdef const intptr_t* at
    cdef floating* net
    cdef double rate, largest
    cdef double safe
    if floating is double:
        safe = DBL_MAX * DBL_EPSILON / 8
    else:
        safe = FLT_MAX * FLT_EPSILON / 8
    diverged[0] = False
    for i in range(n):
        x = X + i * x_stride
        at = columns
        width = m
        if may_skip:
            count = 0
            for c in range(m):
                if x[c] != 0:
                    places[count] = c if columns == NULL else columns[c]
                    values[count] = x[c]
                    count += 1
            if columns != NULL or not _is_dense(count, m):
                x = values
                at = places
                width = count
        net = nets + i * k
        if waiting != NULL and at == NULL:
            _steps_and_dots(W, stride, waiting, steps, x, k, m, net)
        else:
            if waiting != NULL:
                _steps(W, stride, waiting, NULL, steps, k, m)
            _dots(W, stride, x, at, k, width, net)
        waiting = NULL
        for j in range(k):
            net[j] += biases[j]
        if targets[i] < 0:
            continue
        if not _test(rule, net, k, targets[i], slopes, delta, &eps[i]):
            diverged[0] = True
            return i
        if eps[i] < rule.epsilon:
            if rule.stop:
                return i + 1
            continue
        rate = rates[n_updates] * sample_weights[i]
        largest = 0.0
        for j in range(k):
            steps[j] = <floating>(rate * (delta[j] * slopes[j]))
            largest = max(largest, fabs(steps[j]))
        # An increment below half the spacing of the largest numbers cannot make a finite weight
        # overflow.
        if not (isfinite(rate) and largest * _reach(x, width) < safe) and not _would_be_finite(
            W, stride, biases, x, at, steps, k, width
        ):
            diverged[0] = True
            return i
        for j in range(k):
            biases[j] += steps[j]
        if at == NULL:
            waiting = x
        else:
            _steps(W, stride, x, at, steps, k, width)
        updated[i] = True
        n_updates += 1
    if waiting != NULL:
        _steps(W, stride, waiting, NULL, steps, k, m)
    return n


cdef void* _address(array) except NULL:
    """Return where the numbers of an array begin; cheaper than a memoryview of it."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)  # the caller holds the array
    return view.buf


# `like` only says of which type the arrays are.
cdef _learn_block(floating* like, weights, biases, columns, X, rule, block):
    cdef Rule c_rule
    cdef ptrdiff_t n = len(X), m = X.shape[1], k = len(biases), done
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    cdef bint may_skip = columns is not None or m > 1024, diverged = False
    if n == 0 or k == 0:
        return n, False
    c_rule.function = _FUNCTIONS[rule.activation.name]
    c_rule.low = rule.activation.low
    c_rule.high = rule.activation.high
    c_rule.epsilon = rule.epsilon
    c_rule.stop = rule.stop
    cdef floating* W = <floating*>_address(weights)
    cdef floating* b = <floating*>_address(biases)
    cdef floating* x = <floating*>_address(X)
    cdef intptr_t* at = NULL if columns is None else <intptr_t*>_address(columns)
    cdef intptr_t* targets = <intptr_t*>_address(block.targets)
    cdef double* sample_weights = <double*>_address(block.sample_weights)
    cdef double* rates = <double*>_address(block.rates)
    cdef floating* nets = <floating*>_address(block.nets)
    cdef double* eps = <double*>_address(block.eps)
    cdef uint8_t* updated = <uint8_t*>_address(block.updated)
    cdef size_t size = k * (2 * sizeof(double) + sizeof(floating))
    if may_skip:
        size += m * (sizeof(intptr_t) + sizeof(floating))
    cdef char* scratch = <char*>malloc(size)
    if scratch == NULL:
        raise MemoryError
    cdef double* slopes = <double*>scratch
    cdef double* delta = slopes + k
    cdef intptr_t* places = <intptr_t*>(delta + k)
    cdef floating* steps = <floating*>(places + (m if may_skip else 0))
    with nogil:
        done = _learn(
            W, stride, b, x, m, at, n, k, m, may_skip, &c_rule, targets, sample_weights, rates,
            nets, eps, updated, slopes, delta, steps, places, steps + k, &diverged,
        )
    free(scratch)
    return done, diverged


def learn_rows(weights, biases, X, rule, block):
    """Predict from and learn the rows of X (n, n_features), one after another.

    `weights` and `biases` are changed in place; a row of weights is contiguous.

    Returns
    -------
    The number of rows done, and whether the next one was refused because it would diverge. With
    `rule.stop`, the first row whose eps is below epsilon is the last one done.

    """
    return learn_sparse(weights, biases, None, X, rule, block)


def learn_sparse(weights, biases, columns, X, rule, block):
    """Do as `learn_rows` for rows X (n, m) over the ascending `columns` (m,) alone."""
    X = np.ascontiguousarray(X)
    if weights.dtype.char == "d":
        return _learn_block[double](NULL, weights, biases, columns, X, rule, block)
    return _learn_block[float](NULL, weights, biases, columns, X, rule, block)


cdef _forward(floating* out, weights, biases, columns, values):
    cdef ptrdiff_t j, k = len(biases), m = len(values)
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    if k == 0:
        return
    cdef floating* W = <floating*>_address(weights)
    cdef floating* b = <floating*>_address(biases)
    cdef floating* x = <floating*>_address(values)
    cdef intptr_t* at = NULL if columns is None else <intptr_t*>_address(columns)
    with nogil:
        _dots(W, stride, x, at, k, m, out)
        for j in range(k):
            out[j] += b[j]


def forward(weights, biases, columns, values):
    """Return the net inputs (k,) of one sample.

    `values` (m,) belong to the ascending `columns` (m,), or to all columns if that is None.
    """
    out = np.empty_like(biases)
    values = np.ascontiguousarray(values)
    if weights.dtype.char == "d":
        _forward[double](<double*>_address(out), weights, biases, columns, values)
    else:
        _forward[float](<float*>_address(out), weights, biases, columns, values)
    return out


cdef inline bint _as_number(object value, double* number) except -1:
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
        if not _as_number(values[i], &out[i]) or not isfinite(out[i]):
            return False
    return True


cdef ptrdiff_t _place(dict x, list names, dict numbers, floating* values, intptr_t* columns,
                      bint* ascending) except -2:
    cdef Py_ssize_t position = 0, i = 0, n_names = len(names)
    cdef PyObject* key
    cdef PyObject* value
    cdef PyObject* number
    cdef double number_value
    cdef floating cell
    cdef intptr_t column, before = -1
    ascending[0] = True
    while PyDict_Next(x, &position, &key, &value):
        if i < n_names and key == PyList_GET_ITEM(names, i):
            column = i
        else:
            number = PyDict_GetItem(numbers, <object>key)
            if number == NULL:
                return -1
            column = <object>number
        if not _as_number(<object>value, &number_value):
            return -1
        cell = <floating>number_value
        if not isfinite(cell):
            return -1
        ascending[0] = ascending[0] and column > before
        before = column
        values[i] = cell
        columns[i] = column
        i += 1
    return i


def place(x, names, numbers, values, columns):
    """Write the values of a dict of features and their columns, in the order of the dict.

    Parameters
    ----------
    x
        The features.
    names
        The names that are known, a list.
    numbers
        Their columns, a dict.
    values, columns
        Where to write, at least as long as x.

    Returns
    -------
    Whether all names are known and all values are plain, finite numbers, and whether columns ascend.

    """
    cdef bint ascending = False
    cdef ptrdiff_t m
    cdef intptr_t* at = <intptr_t*>_address(columns)
    if values.dtype.char == "d":
        m = _place(x, names, numbers, <double*>_address(values), at, &ascending)
    else:
        m = _place(x, names, numbers, <float*>_address(values), at, &ascending)
    return m >= 0, ascending
