# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled delta rule, as in `numpy_kernel`: unpacks Python objects for kernel.h."""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from stream_perceptron.model.kernel.types import Done, Outcome

_LEARNED, _DIVERGED, _NOT_PLAIN = Outcome

NAME = "compiled"

cdef extern from "kernel.h" nogil:
    ctypedef enum Function:
        SIGMOID, TANH, ARCTAN, IDENTITY
    ctypedef struct Samples:
        ptrdiff_t n, k, d, stride, longest, apart
        bint stop, diverged
        double *W, *biases, *tests, *nets
        Function function
        double low, high, epsilon
        const intptr_t *starts, *targets, *widths
        const int32_t *columns, *places
        const double *values, *of_byte, *sample_weights, *rates
        const uint8_t* bytes
        double *statistics, *eps, *last
        uint8_t* updated
        int64_t* counts
    ptrdiff_t learn_samples "learn" (Samples*)
    void activate(Function, const double*, ptrdiff_t, double*, double*)
    void to_probabilities(double*, ptrdiff_t, double)

# Declared for PyObject*, so that Cython does not count references.
cdef extern from "Python.h":
    bint PyFloat_CheckExact(PyObject*)
    bint PyLong_CheckExact(PyObject*)
    bint PyBool_Check(PyObject*)
    bint PyUnicode_CheckExact(PyObject*)
    double PyFloat_AS_DOUBLE(PyObject*)
    double PyLong_AsDouble(PyObject*) except? -1.0

_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH, "arctan": ARCTAN, "identity": IDENTITY}


cdef void* _address(array) except NULL:
    """Return the address of an array's numbers; faster than a memoryview."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)  # the caller holds the array
    return view.buf


cdef Samples _samples_of(weights, biases):
    """Unpack a `WeightStore`'s weights (k, d) and biases (k,)."""
    cdef Py_buffer view
    cdef Samples samples
    memset(&samples, 0, sizeof(samples))
    PyObject_GetBuffer(weights, &view, PyBUF_STRIDES)
    samples.k, samples.d = view.shape[0], view.shape[1]
    # With one feature the buffer's own strides differ.
    samples.stride = <ptrdiff_t>weights.strides[1] // view.itemsize
    samples.W = <double*>view.buf
    samples.biases = <double*>_address(biases)
    PyBuffer_Release(&view)
    return samples


cdef void _set_rule(Samples* samples, rule):
    activation, samples.epsilon, samples.stop = rule
    samples.function = _FUNCTIONS[activation.name]
    samples.low, samples.high = activation.low, activation.high


cdef ptrdiff_t _learn(Samples* samples) except -1:
    """Learn rows; return their number."""
    cdef ptrdiff_t done
    with nogil:
        done = learn_samples(samples)
    if done < 0:
        raise MemoryError
    return done


def learn(store, rows, places, rule, block, counters, scaler=None):
    """Predict and then learn rows of features, as `numpy_kernel.learn` does."""
    weights, biases, _ = store
    cdef Samples samples = _samples_of(weights, biases)
    cdef const int32_t* place
    cdef ptrdiff_t i, n_known = 0, n_names = len(places)
    _set_rule(&samples, rule)
    samples.n = len(rows)
    if samples.n == 0 or samples.k == 0:
        return Done(samples.n, False)
    place = <int32_t*>_address(places)
    while n_known < n_names and place[n_known] == n_known:
        n_known += 1
    if n_known < n_names:
        if rows.columns is None:
            rows = rows.reordered(np.argsort(places, kind="stable"))
        samples.places = place
    starts, values, columns = rows.starts, rows.values, rows.columns
    samples.starts = <intptr_t*>_address(starts)
    for i in range(samples.n):
        samples.longest = max(samples.longest, samples.starts[i + 1] - samples.starts[i])
    if values.dtype.char == "B":
        of_byte = rows.of_byte
        samples.of_byte = <double*>_address(of_byte)
        samples.bytes = <uint8_t*>_address(values)
    else:
        samples.values = <double*>_address(values)
    if columns is not None:
        samples.columns = <int32_t*>_address(columns)
    samples.targets = <intptr_t*>_address(block.targets)
    samples.sample_weights = <double*>_address(block.sample_weights)
    samples.rates = <double*>_address(block.rates)
    if scaler is not None:
        samples.statistics = <double*>_address(scaler.table)
        samples.apart = len(scaler)
    if block.widths is not None:
        samples.widths = <intptr_t*>_address(block.widths)
        samples.tests = <double*>_address(block.tests)
    samples.nets = <double*>_address(block.nets)
    samples.eps = <double*>_address(block.eps)
    samples.updated = <uint8_t*>_address(block.updated)
    samples.counts = <int64_t*>_address(counters.counts)
    samples.last = <double*>_address(counters.last)
    return Done(_learn(&samples), samples.diverged)


def probabilities(activation, nets):
    """Return the probabilities (n, k) for net inputs (n, k), as `numpy_kernel` does."""
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


cdef ptrdiff_t _read(dict x, list names, dict numbers, ptrdiff_t d, bint with_others,
                     double* values, int32_t* columns) except -2:
    """Write a dict's features; return their number, -1 if not all are plain, finite numbers.

    Unknown features are left out `with_others`; otherwise they too give -1.
    """
    cdef Py_ssize_t position = 0, i = 0, n = 0, m = PyDict_Size(x)
    cdef PyObject* key
    cdef PyObject* value
    cdef double number
    cdef ptrdiff_t column
    while PyDict_Next(x, &position, &key, &value):
        if i >= m or not _as_number(value, &number):
            return -1
        if i < PyList_GET_SIZE(names) and key == PyList_GET_ITEM(names, i):
            column = i
        else:
            # Other types of keys may run their own code, which could change the dict or the model.
            if not PyUnicode_CheckExact(key) and not PyLong_CheckExact(key):
                return -1
            found = numbers.get(<object>key)
            column = -1 if found is None else found
            if PyDict_Size(x) != m:
                return -1
        i += 1
        if not isfinite(number):
            return -1
        if 0 <= column < d:
            columns[n] = <int32_t>column
            values[n] = number
            n += 1
        elif not with_others:
            return -1
    return n if i == m else -1


cdef _learn_dict(x, known, Samples* samples, bint with_others, lr):
    """Learn or predict a dict of features."""
    cdef intptr_t starts[2]
    cdef double rate
    cdef ptrdiff_t m = len(x) if type(x) is dict else 0
    if type(x) is not dict or m > samples.d or samples.targets[0] >= samples.k or samples.k == 0:
        return _NOT_PLAIN
    cdef char* memory = <char*>malloc((m + 1) * (sizeof(double) + sizeof(int32_t)))
    if memory == NULL:
        raise MemoryError
    try:
        samples.values = <double*>memory
        samples.columns = <int32_t*>(samples.values + m + 1)
        m = _read(x, known.names, known.numbers, samples.d, with_others, <double*>samples.values,
                  <int32_t*>samples.columns)
        if m < 0:
            return _NOT_PLAIN
        starts[0], starts[1] = 0, m
        samples.n, samples.longest, samples.starts = 1, m, starts
        rate = lr if isinstance(lr, float) else lr()
        samples.rates = &rate
        _learn(samples)
        return _DIVERGED if samples.diverged else _LEARNED
    finally:
        free(memory)


cdef intptr_t _NO_TARGET = -1


def net_one(x, known, store):
    """Return the net inputs (k,) of a dict of features without the unknown ones.

    `known` is the `Vocabulary` of features and `store` a `WeightStore.now`. Returns None if x is no
    dict or has more features than the model, a value is no plain, finite number, or k is 0.
    """
    weights, biases, _ = store
    cdef Samples samples = _samples_of(weights, biases)
    net = np.empty_like(biases)
    samples.targets = &_NO_TARGET
    samples.nets = <double*>_address(net)
    outcome = _learn_dict(x, known, &samples, True, 0.0)
    return net if outcome is _LEARNED else None


def predict_one(x, known, store):
    """Return the output with the largest net input, the first of equals; -1 for None in `net_one`.
    """
    weights, biases, _ = store
    cdef Samples samples = _samples_of(weights, biases)
    cdef ptrdiff_t j, best = 0
    cdef double net, top = -INFINITY
    samples.targets = &_NO_TARGET
    samples.nets = <double*>malloc(samples.k * sizeof(double) + 1)
    if samples.nets == NULL:
        raise MemoryError
    try:
        if _learn_dict(x, known, &samples, True, 0.0) is not _LEARNED:
            return -1
        for j in range(samples.k):
            net = samples.nets[j]
            if net != net:  # as NumPy's argmax, which returns the first NaN
                return j
            if net > top:
                best, top = j, net
        return best
    finally:
        free(samples.nets)


def learn_one(x, known, store, rule, intptr_t target, double weight, lr, counters):
    """Learn a dict of known features for the output `target`; return its `Outcome`.

    `known` and `store` are as in `net_one`. `lr` is the learning rate, or a function that returns
    it, called once the sample is found to be plain.
    """
    weights, biases, _ = store
    cdef Samples samples = _samples_of(weights, biases)
    cdef double eps = 0.0
    cdef uint8_t updated = False
    _set_rule(&samples, rule)
    samples.targets = &target
    samples.sample_weights = &weight
    samples.eps = &eps
    samples.updated = &updated
    samples.counts = <int64_t*>_address(counters.counts)
    samples.last = <double*>_address(counters.last)
    samples.nets = <double*>malloc(samples.k * sizeof(double) + 1)
    if samples.nets == NULL:
        raise MemoryError
    try:
        return _learn_dict(x, known, &samples, False, lr)
    finally:
        free(samples.nets)
