# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The delta rule in C; this module unpacks Python objects for kernel.h."""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from stream_perceptron.model.buffers cimport get_address

cdef extern from "kernel.h" nogil:
    ctypedef enum Function:
        SIGMOID, TANH, ARCTAN, IDENTITY
    ctypedef struct Model:
        ptrdiff_t k
        ptrdiff_t d
        double* weights
        ptrdiff_t stride
        double* biases
        double* update_counts
        Function function
        double low
        double high
        double epsilon
        double n_falling
        double first_factor
        bint stop
        double* statistics
        ptrdiff_t statistics_width
        const double* class_factors
        int64_t* class_counts
    ctypedef struct Rows:
        ptrdiff_t start
        ptrdiff_t end
        const intptr_t* starts
        ptrdiff_t longest
        const double* values
        const int32_t* feature_ids
        const uint8_t* status
        const intptr_t* n_features
        const intptr_t* n_labels
        const intptr_t* targets
        const double* sample_weights
        const double* rates
    ctypedef struct Results:
        double* nets
        intptr_t* predicted
        double* scores
        double* all_scores
        ptrdiff_t scores_width
        double* errors
        uint8_t* updated
        double* probes
        int64_t* counts
        double* last_error
    ptrdiff_t learn_rows "learn" (const Model*, const Rows*, const Results*)
    double _compute_class_factor "compute_class_factor" (const Model*, ptrdiff_t)
    void activate(Function, const double*, ptrdiff_t, double*, double*)
    void to_scores(double*, ptrdiff_t, double)
    void apply_statistics "standardize" (const double*, const double*, ptrdiff_t, double*)

# Declared with PyObject*, so that Cython does not count references.
cdef extern from "Python.h":
    bint PyFloat_CheckExact(PyObject*)
    bint PyLong_CheckExact(PyObject*)
    bint PyBool_Check(PyObject*)
    bint PyUnicode_CheckExact(PyObject*)
    double PyFloat_AS_DOUBLE(PyObject*)
    double PyLong_AsDouble(PyObject*) except? -1.0

_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH, "arctan": ARCTAN, "identity": IDENTITY}


cdef Model _build_model(weights, rule, scaler=None, class_weights=None):
    """Build a model from its `Weights`, rule, scaler and class weights; the rule is None to predict."""
    cdef Py_buffer view
    cdef Model model
    memset(&model, 0, sizeof(model))
    matrix, biases, update_counts, *_ = weights
    PyObject_GetBuffer(matrix, &view, PyBUF_STRIDES)
    model.k, model.d = view.shape[0], view.shape[1]
    # With a single feature, the strides of the buffer differ from those of the array.
    model.stride = <ptrdiff_t>matrix.strides[1] // view.itemsize
    model.weights = <double*>view.buf
    PyBuffer_Release(&view)
    model.biases = <double*>get_address(biases)
    model.update_counts = <double*>get_address(update_counts)
    if rule is not None:
        activation, model.epsilon, falling_rate, model.stop = rule
        if falling_rate is not None:
            model.n_falling = falling_rate.n_falling
            model.first_factor = <double>falling_rate.start / <double>falling_rate.end
        model.function = _FUNCTIONS[activation.name]
        model.low, model.high = activation.low, activation.high
    if scaler is not None:
        model.statistics = <double*>get_address(scaler.statistics)
        model.statistics_width = len(scaler)
    if class_weights is not None:
        model.class_factors = <double*>get_address(class_weights.factors)
        model.class_counts = <int64_t*>get_address(class_weights.counts)
    return model


cdef Rows _build_rows(samples, part, targets):
    """Build rows from `Samples` and a `Part`, kept alive by the caller."""
    cdef Rows rows
    cdef ptrdiff_t i
    rows.start, rows.end = part.start, part.end
    rows.longest = 0
    rows.starts = <intptr_t*>get_address(samples.starts)
    for i in range(rows.start, rows.end):
        rows.longest = max(rows.longest, rows.starts[i + 1] - rows.starts[i])
    rows.values = <double*>get_address(samples.values)
    rows.feature_ids = <int32_t*>get_address(samples.feature_ids)
    rows.status = <uint8_t*>get_address(samples.status)
    rows.n_features = <intptr_t*>get_address(part.n_features)
    rows.n_labels = <intptr_t*>get_address(part.n_labels)
    rows.targets = <intptr_t*>get_address(targets) if part.learns else NULL
    rows.sample_weights = <double*>get_address(part.sample_weights)
    rows.rates = <double*>get_address(part.rates)
    return rows


cdef Results _build_results(counters, part, result):
    """Build results from a `TrainResult`, kept alive by the caller."""
    cdef Results c
    memset(&c, 0, sizeof(c))
    c.counts = <int64_t*>get_address(counters.counts)
    c.last_error = <double*>get_address(counters.last_error)
    c.errors = <double*>get_address(result.errors)
    c.updated = <uint8_t*>get_address(result.updated)
    c.probes = <double*>get_address(result.probes)
    c.nets = <double*>get_address(result.nets)
    if part.with_predictions:
        c.predicted = <intptr_t*>get_address(result.predicted)
        c.all_scores = <double*>get_address(result.all_scores)
        c.scores_width = 0 if result.all_scores is None else result.all_scores.shape[1]
        if part.with_scores:
            c.scores = <double*>get_address(result.scores)
    return c


cdef ptrdiff_t _learn(const Model* model, const Rows* rows, const Results* results) except -1:
    """Learn rows without the GIL; return the end of the rows processed."""
    cdef ptrdiff_t end
    with nogil:
        end = learn_rows(model, rows, results)
    if end < 0:
        raise MemoryError
    return end


def learn(weights, rule, scaler, class_weights, counters, samples, part, result):
    """Predict and then learn rows, one after another; return the end of the rows processed.

    Processing ends early before a row that would make the model diverge, and after a row that ends
    the training. With a scaler, a row is standardized for its prediction, added to the statistics,
    and standardized again before it is learned.
    """
    cdef Model model = _build_model(weights, rule, scaler, class_weights)
    cdef Rows rows = _build_rows(samples, part, result.targets)
    cdef Results results = _build_results(counters, part, result)
    return _learn(&model, &rows, &results)


def find_new_names(rows, targets, ids, int32_t n_known):
    """Number the names that labeled rows add, where `ids` is -1; return them and their rows."""
    cdef const intptr_t* starts = <intptr_t*>get_address(rows.starts)
    cdef const int32_t* name_ids = <int32_t*>get_address(rows.feature_ids)
    cdef const intptr_t* labels = <intptr_t*>get_address(targets)
    cdef int32_t* numbers = <int32_t*>get_address(ids)
    cdef ptrdiff_t i, c, n_left = np.count_nonzero(ids < 0)
    names, added_rows = [], []
    for i in range(len(rows)):
        if n_left == 0:
            break
        if labels[i] < 0:
            continue
        for c in range(starts[i], starts[i + 1]):
            if numbers[name_ids[c]] < 0:
                numbers[name_ids[c]] = n_known + <int32_t>len(names)
                names.append(name_ids[c])
                added_rows.append(i)
                n_left -= 1
    return names, added_rows


def compute_class_factor(class_weights, intptr_t target):
    """Return the factor for the weight of the next sample of a class, given the number of its label."""
    cdef Model model
    memset(&model, 0, sizeof(model))
    model.class_factors = <double*>get_address(class_weights.factors)
    model.class_counts = <int64_t*>get_address(class_weights.counts)
    model.k = 0 if class_weights.counts is None else len(class_weights.counts)
    return _compute_class_factor(&model, target)


def compute_outputs(activation, nets):
    """Return y = f(net) and f'(net), elementwise, as arrays of the same shape."""
    numbers = np.array(nets, np.float64, order="C")
    y, slopes = np.empty_like(numbers), np.empty_like(numbers)
    activate(_FUNCTIONS[activation.name], <double*>get_address(numbers), numbers.size,
             <double*>get_address(y), <double*>get_address(slopes))
    return y, slopes


def standardize(statistics, x):
    """Return values x, shape (m,), standardized by the statistics of their features, (4, m)."""
    numbers, table = np.array(x, np.float64), np.array(statistics, np.float64, order="C")
    z = np.empty_like(numbers)
    apply_statistics(<double*>get_address(numbers), <double*>get_address(table), numbers.size,
                     <double*>get_address(z))
    return z


def compute_scores(activation, nets):
    """Compute the scores (n, k) from net inputs (n, k).

    The low target is subtracted from the outputs of a row; then the smallest difference is
    subtracted if it is negative, and the results are scaled to a sum of 1. If all results are zero,
    the scores are uniform.
    """
    numbers = np.array(nets, np.float64, order="C")
    cdef ptrdiff_t i, n = numbers.shape[0], k = numbers.shape[1]
    cdef double low = activation.low
    cdef Function function = _FUNCTIONS[activation.name]
    if n == 0 or k == 0:
        return numbers
    y = np.empty((n + 1, k))
    cdef double* net = <double*>get_address(numbers)
    cdef double* out = <double*>get_address(y)
    with nogil:
        for i in range(n):
            activate(function, net + i * k, k, out + i * k, out + n * k)
            to_scores(out + i * k, k, low)
    return y[:n]


cdef inline bint _read_number(PyObject* value, double* number) except -1:
    """Convert a plain number or bool to a double; return False if it is neither, or too large."""
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


cdef ptrdiff_t _read_dict(dict x, features, ptrdiff_t d, bint skip_unknown, double* values,
                          int32_t* feature_ids) except -2:
    """Write the features of a dict; return their number, or -1 if a value is unusable.

    A usable value is a plain, finite number. Unknown features are skipped if `skip_unknown` is
    true; otherwise, they also result in -1.
    """
    cdef Py_ssize_t position = 0, i = 0, n = 0, m = PyDict_Size(x)
    cdef list names = features.names
    cdef dict ids_by_name = None
    cdef PyObject* key
    cdef PyObject* value
    cdef double number
    cdef ptrdiff_t feature_id
    while PyDict_Next(x, &position, &key, &value):
        if i >= m or not _read_number(value, &number):
            return -1
        if i < PyList_GET_SIZE(names) and key == PyList_GET_ITEM(names, i):
            feature_id = i
        else:
            # Keys of other types may run their own code, which could change the dict or the model.
            if not PyUnicode_CheckExact(key) and not PyLong_CheckExact(key):
                return -1
            if ids_by_name is None:
                ids_by_name = features.ids_by_name
            known_id = ids_by_name.get(<object>key)
            feature_id = -1 if known_id is None else known_id
            if PyDict_Size(x) != m:
                return -1
        i += 1
        if not isfinite(number):
            return -1
        if 0 <= feature_id < d:
            feature_ids[n] = <int32_t>feature_id
            values[n] = number
            n += 1
        elif not skip_unknown:
            return -1
    return n if i == m else -1


cdef ptrdiff_t _learn_dict(x, features, const Model* model, intptr_t target, double sample_weight,
                           lr, const Results* results) except -2:
    """Learn a dict of features; with a negative target, predict it and ignore unknown features.

    Return 1 if it was learned or predicted, 0 if the model would diverge, and -1 if the dict is not
    plain.
    """
    cdef Rows rows
    cdef intptr_t starts[2]
    cdef double rate
    cdef ptrdiff_t m = len(x) if type(x) is dict else 0
    if type(x) is not dict or m > model.d or target >= model.k or model.k == 0:
        return -1
    cdef double* values = <double*>malloc((m + 1) * (sizeof(double) + sizeof(int32_t)))
    if values == NULL:
        raise MemoryError
    cdef int32_t* feature_ids = <int32_t*>(values + m + 1)
    try:
        m = _read_dict(x, features, model.d, target < 0, values, feature_ids)
        if m < 0:
            return -1
        rate = lr if isinstance(lr, float) else lr()
        starts[0], starts[1] = 0, m
        memset(&rows, 0, sizeof(rows))
        rows.end, rows.longest, rows.starts = 1, m, starts
        rows.values, rows.feature_ids = values, feature_ids
        rows.targets, rows.sample_weights, rows.rates = &target, &sample_weight, &rate
        return _learn(model, &rows, results)
    finally:
        free(values)


def compute_net_inputs_one(x, features, weights):
    """Compute the net inputs (k,) of a dict of features; unknown features are ignored.

    `features` is the model's `Vocabulary`. Return None if x is not a dict or has more features than
    the model, if a value is not a plain, finite number, if a net input is not finite, or if k is 0.
    """
    cdef Model model = _build_model(weights, None)
    cdef Results results
    memset(&results, 0, sizeof(results))
    nets = np.empty_like(weights.biases)
    results.nets = <double*>get_address(nets)
    return nets if _learn_dict(x, features, &model, -1, 1.0, 0.0, &results) == 1 else None


def learn_one(x, features, weights, rule, class_weights, intptr_t target, double sample_weight, lr,
              counters):
    """Learn a dict of known features for the output `target`; see `compute_net_inputs_one` for `features`.

    `lr` is the learning rate, or a function that returns it, which is called after the dict has
    been read. Return 1 if the sample was learned, 0 if the model would diverge, and -1 if the dict
    is not plain.
    """
    cdef Model model = _build_model(weights, rule, None, class_weights)
    cdef double error = 0.0
    cdef uint8_t updated = False
    cdef Results results
    memset(&results, 0, sizeof(results))
    results.errors, results.updated = &error, &updated
    results.counts = <int64_t*>get_address(counters.counts)
    results.last_error = <double*>get_address(counters.last_error)
    return _learn_dict(x, features, &model, target, sample_weight, lr, &results)
