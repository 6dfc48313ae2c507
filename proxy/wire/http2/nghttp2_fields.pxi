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
    if size <= 64 and len(_names) < MOST_NAMES:
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


cdef class HeaderBlock:
    """The header block being received: its fields up to the limits, its size beyond them."""

    cdef list pseudo
    cdef list fields
    cdef tuple last_pseudo
    cdef tuple last_fields
    cdef size_t size
    cdef size_t max_size
    cdef size_t max_fields
    cdef Slot slots[SLOTS]

    def __init__(self, max_size, max_fields):
        self.max_size = max_size
        self.max_fields = max_fields

    def __dealloc__(self):
        cdef int i
        for i in range(SLOTS):
            _clear_slot(&self.slots[i])

    cdef int begin(self) except -1:
        self.size = 0
        self.pseudo = []
        self.fields = []
        return 0

    cdef int add(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags) except -1:
        """Take one field; 1 if the list is too large to go on."""
        cdef Slot *slot = &self.slots[((<size_t>name >> 5) ^ (<size_t>value >> 4)) & (SLOTS - 1)]
        cdef bint known = slot.name == name and slot.value == value
        cdef nghttp2_vec name_buffer = [NULL, 0], value_buffer = [NULL, 0]
        cdef size_t size
        cdef tuple pair
        if known:
            size = slot.size
        else:
            name_buffer = nghttp2_rcbuf_get_buf(name)
            value_buffer = nghttp2_rcbuf_get_buf(value)
            size = name_buffer.len + value_buffer.len + 32
        self.size += size
        if self.size > self.max_size:
            return self.size > self.max_size * BOMB
        if <size_t>len(self.fields) > self.max_fields or <size_t>len(self.pseudo) > self.max_fields:
            return 0
        if known:
            pair = <tuple>slot.pair
        else:
            pair = (_intern(name_buffer.base, name_buffer.len),
                    PyBytes_FromStringAndSize(<const char *>value_buffer.base, value_buffer.len))
            if size <= SLOT_FIELD and not flags & NGHTTP2_NV_FLAG_NO_INDEX:
                _fill_slot(slot, name, value, pair, size)
        if not self.fields and PyBytes_AS_STRING(<bytes>pair[0])[0] == b":":
            self.pseudo.append(pair)
        else:
            self.fields.append(pair)
        return 0

    cdef tuple take(self, int kind, int32_t stream_id, bint end):
        """The frame event of the whole block; the same tuples for the same lists, which the codec knows by identity."""
        cdef tuple pseudo = _same_or_tuple(self.pseudo, self.last_pseudo)
        cdef tuple fields = _same_or_tuple(self.fields, self.last_fields)
        self.pseudo = self.fields = None
        if self.size <= REPEATED:
            self.last_pseudo = pseudo
            self.last_fields = fields
        return (kind, stream_id, pseudo, fields, self.size, end)
