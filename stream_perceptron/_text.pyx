# cython: language_level=3
"""The features of strings and the names of numbers, by the C functions that the compiled reader calls."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.stdlib cimport free

cdef extern from "text.h" nogil:
    ctypedef struct Buffer:
        uint8_t* bytes
        ptrdiff_t n, room
    ctypedef int (*UseFeature)(void*, const Buffer*, double) noexcept
    int add_bytes(Buffer*, const void*, ptrdiff_t)
    int encode_text(const uint8_t*, const uint8_t*, Buffer*, UseFeature, void*)
    int add_number(Buffer*, const uint8_t*, const uint8_t*, double)


cdef int add_item(void* features, const Buffer* name, double value) noexcept with gil:
    (<dict>features)[PyUnicode_DecodeUTF8(<char*>name.bytes, name.n, "surrogatepass")] = value
    return True


def encode_string(str name, str text):
    """Return the features of a string in a column."""
    cdef bytes path = name.encode("utf-8", "surrogatepass"), content = text.encode("utf-8", "surrogatepass")
    cdef const uint8_t* p = content
    cdef Buffer buffer = Buffer(NULL, 0, 0)
    features = {}
    try:
        if not (add_bytes(&buffer, <const char*>path, len(path)) and
                encode_text(p, p + len(content), &buffer, add_item, <void*>features)):
            raise MemoryError
    finally:
        free(buffer.bytes)
    return features


def name_number_category(str spelling, double number):
    """Return the name of a number as a category, given its spelling."""
    cdef bytes content = spelling.encode()
    cdef const uint8_t* p = content
    cdef Buffer buffer = Buffer(NULL, 0, 0)
    try:
        if not add_number(&buffer, p, p + len(content), number):
            raise MemoryError
        return PyUnicode_DecodeUTF8(<char*>buffer.bytes, buffer.n, NULL)
    finally:
        free(buffer.bytes)
