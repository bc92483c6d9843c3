# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The delta rule, compiled: what `numpy_kernel` does. It is in kernel.h; here objects are unpacked."""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cython cimport floating
from libc.math cimport isfinite
from libc.stdint cimport int64_t, intptr_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memset

import numpy as np

from stream_perceptron.model.features import Sparse, Uint8
from stream_perceptron.model.kernel.types import Done, Outcome

__all__ = ["NAME", "fill", "learn", "learn_one", "net_one", "predict_one", "probabilities"]

_LEARNED, _DIVERGED, _NOT_PLAIN = Outcome

NAME = "compiled"

cdef extern from "kernel.h" nogil:
    ctypedef enum Function:
        SIGMOID, TANH, ARCTAN, IDENTITY
    ctypedef struct Rule:
        Function function
        double low
        double high
        double epsilon
        bint stop
    ctypedef struct Samples:
        ptrdiff_t n, k, d
        const void* values
        const uint8_t* bytes
        double scale
        const intptr_t* starts
        const intptr_t* columns
        const intptr_t* targets
        const double* sample_weights
        const double* rates
        double* statistics
        ptrdiff_t apart
        const intptr_t* widths
        void* tests
        void* nets
        double* eps
        uint8_t* updated
        int64_t* counts
        double* last
    bint is_dense(ptrdiff_t, ptrdiff_t)
    ptrdiff_t learn_double(double*, ptrdiff_t, double*, const Samples*, const Rule*, bint*)
    ptrdiff_t learn_float(float*, ptrdiff_t, float*, const Samples*, const Rule*, bint*)
    bint predict_double(const double*, ptrdiff_t, const double*, const double*, const intptr_t*,
                        ptrdiff_t, ptrdiff_t, double*)
    void activate(Function, const double*, ptrdiff_t, double*, double*)
    void to_probabilities(double*, ptrdiff_t, double)
    bint predict_float(const float*, ptrdiff_t, const float*, const float*, const intptr_t*,
                       ptrdiff_t, ptrdiff_t, float*)

# Without the counting of references that Cython adds for objects.
cdef extern from "Python.h":
    bint PyFloat_CheckExact(PyObject*)
    bint PyLong_CheckExact(PyObject*)
    bint PyBool_Check(PyObject*)
    bint PyUnicode_CheckExact(PyObject*)
    double PyFloat_AS_DOUBLE(PyObject*)
    double PyLong_AsDouble(PyObject*) except? -1.0

_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH, "arctan": ARCTAN, "identity": IDENTITY}


cdef ptrdiff_t _learn(floating* W, ptrdiff_t stride, floating* biases, const Samples* samples,
                      const Rule* rule, bint* diverged) noexcept nogil:
    if floating is double:
        return learn_double(W, stride, biases, samples, rule, diverged)
    else:
        return learn_float(W, stride, biases, samples, rule, diverged)


cdef bint _predict(const floating* W, ptrdiff_t stride, const floating* biases, const floating* x,
                   const intptr_t* columns, ptrdiff_t k, ptrdiff_t m,
                   floating* net) noexcept nogil:
    if floating is double:
        return predict_double(W, stride, biases, x, columns, k, m, net)
    else:
        return predict_float(W, stride, biases, x, columns, k, m, net)


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
    cdef ptrdiff_t done
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    cdef bint diverged = False
    memset(&samples, 0, sizeof(samples))
    samples.n = len(features)
    samples.k = len(biases)
    samples.d = weights.shape[1]
    if samples.n == 0 or samples.k == 0:
        return Done(samples.n, False)
    if block.widths is not None:
        samples.widths = <intptr_t*>_address(block.widths)
        samples.tests = _address(block.tests)
    values = np.require(features.values, requirements="CA")
    if isinstance(features, Uint8):
        samples.scale = features.scale
        samples.bytes = <uint8_t*>_address(values)
    else:
        samples.values = _address(values)
    if isinstance(features, Sparse):
        columns, starts = features.columns, features.starts
        samples.columns = <intptr_t*>_address(columns)
        samples.starts = <intptr_t*>_address(starts)
    if scaler is not None:
        samples.statistics = <double*>_address(scaler.table)
        samples.apart = len(scaler)
    samples.targets = <intptr_t*>_address(block.targets)
    samples.sample_weights = <double*>_address(block.sample_weights)
    samples.rates = <double*>_address(block.rates)
    samples.nets = _address(block.nets)
    samples.eps = <double*>_address(block.eps)
    samples.updated = <uint8_t*>_address(block.updated)
    samples.counts = <int64_t*>_address(counters.counts)
    samples.last = <double*>_address(counters.last)
    cdef floating* W = <floating*>_address(weights)
    cdef floating* b = <floating*>_address(biases)
    with nogil:
        done = _learn(W, stride, b, &samples, &c_rule, &diverged)
    if done < 0:
        raise MemoryError
    return Done(done, diverged)


def learn(weights, biases, features, rule, block, counters, scaler=None):
    """Predict from and learn rows of features, one after another; as `numpy_kernel.learn`."""
    if weights.dtype.char == "d":
        return _learn_block[double](NULL, weights, biases, features, rule, block, counters, scaler)
    return _learn_block[float](NULL, weights, biases, features, rule, block, counters, scaler)


def probabilities(activation, nets):
    """Return the probabilities (n, k) of net inputs (n, k); as `numpy_kernel.probabilities`."""
    numbers = np.array(nets, np.float64, order="C")
    cdef ptrdiff_t i, n = numbers.shape[0], k = numbers.shape[1]
    cdef double low = activation.low
    cdef Function function = _FUNCTIONS[activation.name]
    if n == 0 or k == 0:
        return numbers
    y = np.empty((n + 1, k))
    cdef double* net = <double*>_address(numbers)
    cdef double* out = <double*>_address(y)
    with nogil:
        for i in range(n):
            activate(function, net + i * k, k, out + i * k, out + n * k)
            to_probabilities(out + i * k, k, low)
    return y[:n]


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
                 ptrdiff_t d, bint with_others) except -1:
    """Place a dict of features; return whether all values are plain, finite numbers.

    Features that are not known are left out if there may be others; if not, the answer is no. After
    a yes the caller frees the memory.
    """
    cdef bint is_plain = False
    placed.memory = NULL
    try:
        is_plain = _read(like, placed, x, names, numbers, d, with_others)
    finally:
        if not is_plain:
            free(placed.memory)
            placed.memory = NULL
    return is_plain


cdef bint _read(floating* like, Placed* placed, dict x, list names, dict numbers,
                ptrdiff_t d, bint with_others) except -1:
    cdef Py_ssize_t position = 0, i = 0, n = 0, m = PyDict_Size(x)
    cdef bint dense = is_dense(m, d), ascending = True
    cdef PyObject* key
    cdef PyObject* value
    cdef double number
    cdef floating cell
    cdef intptr_t column, before = -1
    placed.memory = <char*>(
        calloc(d, sizeof(floating)) if dense
        else malloc(m * (sizeof(Cell) + sizeof(intptr_t) + sizeof(floating)))
    )
    if placed.memory == NULL:
        raise MemoryError
    cdef Cell* cells = <Cell*>placed.memory
    cdef floating* values = <floating*>placed.memory
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
        i += 1
        cell = <floating>number
        if not isfinite(cell):
            return False
        if column < 0 or column >= d:
            if not with_others:
                return False
        elif dense:
            values[column] = cell
        else:
            ascending = ascending and column > before
            before = column
            cells[n].column = column
            cells[n].value = cell
            n += 1
    if i != m:
        return False
    if dense:
        placed.columns = NULL
        placed.values = values
        placed.m = d
        return True
    if not ascending:
        qsort(cells, n, sizeof(Cell), _compare)
    placed.columns = <intptr_t*>(cells + m)
    placed.values = placed.columns + m
    placed.m = n
    values = <floating*>placed.values
    for i in range(n):
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
    if not _place(net, &placed, x, names, numbers, d, True):
        return False
    is_done = _predict(
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
        The features; others than those that are known are left out.
    names
        The names that are known, a list.
    numbers
        Their columns, a dict.
    weights, biases
        The model, shapes (k, d) and (k,).

    Returns
    -------
    None if x is no dict or has more features than the model, a value is no plain, finite number, or
    k is 0.

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
    cdef bint diverged = False
    cdef intptr_t starts[2]
    cdef double rate
    cdef ptrdiff_t done
    cdef ptrdiff_t stride = weights.strides[0] // <ptrdiff_t>sizeof(floating)
    samples.n = 1
    samples.k = len(biases)
    samples.d = weights.shape[1]
    samples.rates = &rate
    if not _place(like, &placed, x, names, numbers, samples.d, False):
        return _NOT_PLAIN
    samples.values = placed.values
    samples.nets = malloc(samples.k * sizeof(floating))
    try:
        if samples.nets == NULL:
            raise MemoryError
        rate = lr if isinstance(lr, float) else lr()
        if placed.columns != NULL:
            starts[0] = 0
            starts[1] = placed.m
            samples.starts = starts
            samples.columns = placed.columns
        done = _learn(
            <floating*>_address(weights), stride, <floating*>_address(biases), samples, rule,
            &diverged,
        )
        if done < 0:
            raise MemoryError
        return _DIVERGED if diverged else _LEARNED
    finally:
        free(samples.nets)
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
    memset(&samples, 0, sizeof(samples))
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
