# Header fields between C and Python. Included by nghttp2.pyx.

cdef dict _names = {}

cdef struct Slot:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value
    PyObject *pair
    size_t size


cdef bytes _intern(const uint8_t *name, size_t size):
    """One object for each name: its hash is computed once and comparisons end at the address."""
    cdef bytes made = PyBytes_FromStringAndSize(<const char *>name, size)
    known = _names.get(made)
    if known is not None:
        return <bytes>known
    if len(_names) < MOST_NAMES:
        _names[made] = made
    return made


cdef void _fill_slot(Slot *slot, nghttp2_rcbuf *name, nghttp2_rcbuf *value, tuple pair, size_t size):
    _clear_slot(slot)
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    Py_INCREF(pair)
    slot.name = name
    slot.value = value
    slot.pair = <PyObject *>pair
    slot.size = size


cdef void _clear_slot(Slot *slot) noexcept:
    if slot.name != NULL:
        nghttp2_rcbuf_decref(slot.name)
        nghttp2_rcbuf_decref(slot.value)
        Py_XDECREF(slot.pair)
        slot.name = NULL


cdef nghttp2_nv *_fields(nghttp2_nv *stack, list headers, bytes status, size_t *count) except NULL:
    """``headers`` in nghttp2's form, in ``stack`` if it is large enough, else in memory that the caller frees."""
    cdef nghttp2_nv *fields = stack
    cdef Py_ssize_t needed = len(headers) + 1
    cdef size_t i = 0
    cdef bytes name, value
    if needed > STACK_FIELDS:
        fields = <nghttp2_nv *>malloc(needed * sizeof(nghttp2_nv))
        if fields == NULL:
            raise MemoryError
    if status is not None:
        _field(&fields[0], b":status", status)
        i = 1
    try:
        for name, value in headers:
            _field(&fields[i], name, value)
            i += 1
    except BaseException:
        if fields != stack:
            free(fields)
        raise
    count[0] = i
    return fields


cdef inline void _field(nghttp2_nv *field, bytes name, bytes value) noexcept:
    field.name = <uint8_t *>PyBytes_AS_STRING(name)
    field.namelen = PyBytes_GET_SIZE(name)
    field.value = <uint8_t *>PyBytes_AS_STRING(value)
    field.valuelen = PyBytes_GET_SIZE(value)
    field.flags = NGHTTP2_NV_FLAG_NONE


cdef tuple _same_or_tuple(list items, tuple last):
    """``last`` if it holds the very objects of ``items``, else a new tuple."""
    cdef Py_ssize_t i
    if last is None or len(last) != len(items):
        return tuple(items)
    for i in range(len(last)):
        if PyTuple_GET_ITEM(last, i) != PyList_GET_ITEM(items, i):
            return tuple(items)
    return last
