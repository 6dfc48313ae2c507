# Header fields between C and Python. Included by nghttp2.pyx.

cdef enum:
    SETS = 32  # of two cached fields each, so that two with one hash do not replace each other; browsers repeat 10-20
    NAMES = 32  # cached names of a connection
    REPEATED = 2048  # larger header lists are not kept for comparison
    SLOT_FIELD = 512  # larger fields are not worth the memory of a cache
    MOST_NAMES = 2048
    STACK_FIELDS = 32  # response fields that need no allocation

cdef dict _names = {}
cdef list _statuses = [b"%d" % status for status in range(1000)]

cdef struct Slot:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value
    PyObject *pair
    Py_ssize_t size

cdef struct Name:
    nghttp2_rcbuf *buffer
    PyObject *name


cdef bytes _intern(const uint8_t *name, size_t size):
    """Return one object for each name: its hash is computed once and comparisons end at the address."""
    cdef bytes made = PyBytes_FromStringAndSize(<const char *>name, size)
    known = _names.get(made)
    if known is not None:
        return <bytes>known
    if size <= 64:
        remember(_names, made, made, MOST_NAMES)
    return made


cdef bytes _digits(int status):
    return <bytes>_statuses[status] if 0 <= status < len(_statuses) else b"%d" % status


cdef void _fill_slot(Slot *slot, nghttp2_rcbuf *name, nghttp2_rcbuf *value, tuple pair, Py_ssize_t size) noexcept:
    """Store a field in the first of two slots; the one that was there moves to the second."""
    _clear_slot(slot + 1)
    slot[1] = slot[0]
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    Py_INCREF(pair)
    slot[0] = Slot(name, value, <PyObject *>pair, size)


cdef void _clear_slot(Slot *slot) noexcept:
    if slot.name != NULL:
        nghttp2_rcbuf_decref(slot.name)
        nghttp2_rcbuf_decref(slot.value)
        Py_XDECREF(slot.pair)
        slot.name = NULL


cdef nghttp2_nv *_fields(nghttp2_nv *stack, list headers, bytes status, size_t *count) except NULL:
    """Convert ``headers`` to nghttp2's form, in ``stack`` if large enough, else in memory which the caller frees."""
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


cdef class Repeated:
    """A list of pairs under construction; as long as it repeats the last list, only a position moves."""

    cdef tuple last
    cdef list items  # None as long as it repeats
    cdef Py_ssize_t count

    def __init__(self):
        self.last = ()

    cdef inline bint repeats(self, PyObject *pair) noexcept:
        """Take ``pair`` if the last list has it at the same position."""
        if self.items is None and self.count < PyTuple_GET_SIZE(self.last):
            if PyTuple_GET_ITEM(self.last, self.count) == pair:
                self.count += 1
                return True
        return False

    cdef int append(self, tuple pair) except -1:
        if self.items is None:
            # A field that is in no HPACK table is another object each time.
            if self.count < len(self.last) and self.last[self.count] == pair:
                self.count += 1
                return 0
            self.items = list(self.last[:self.count])
        self.items.append(pair)
        self.count += 1
        return 0

    cdef tuple take(self, bint keep):
        """Return the list and empty this object; returns the last tuple itself if the list was the same."""
        cdef tuple taken = self.last
        if self.items is not None:
            taken = tuple(self.items)
            self.items = None
        elif self.count < len(taken):
            taken = taken[:self.count]
        if keep:
            self.last = taken
        self.count = 0
        return taken


cdef class HeaderBlock:
    """The header block being received: its fields up to the limits, its size beyond them."""

    cdef Repeated pseudo
    cdef Repeated fields
    cdef Py_ssize_t size
    cdef Py_ssize_t max_size
    cdef Py_ssize_t max_fields
    cdef Slot slots[2 * SETS]
    cdef Name names[NAMES]

    def __init__(self, max_size, max_fields):
        self.max_size = max_size
        self.max_fields = max_fields
        self.pseudo = Repeated()
        self.fields = Repeated()

    def __dealloc__(self):
        cdef int i
        for i in range(2 * SETS):
            _clear_slot(&self.slots[i])
        for i in range(NAMES):
            if self.names[i].buffer != NULL:
                nghttp2_rcbuf_decref(self.names[i].buffer)
                Py_XDECREF(self.names[i].name)

    cdef int begin(self) except -1:
        """Begin a block; forget one that was not taken because its stream was reset."""
        if self.size:
            self.take(0, 0, False)
        return 0

    cdef inline Slot *set_of(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        return &self.slots[2 * (((<size_t>name >> 5) ^ (<size_t>value >> 4)) & (SETS - 1))]

    cdef inline Slot *find(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        cdef Slot *slot = self.set_of(name, value)
        if slot.name == name and slot.value == value:
            return slot
        slot += 1
        return slot if slot.name == name and slot.value == value else NULL

    cdef inline bint repeats(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        """Take a field if the last block has it at the same position, as most fields do."""
        cdef Slot *slot = self.find(name, value)
        if slot == NULL or self.size + slot.size > self.max_size:
            return False
        if not (self.fields.count == 0 and self.pseudo.repeats(slot.pair)) and not self.fields.repeats(slot.pair):
            return False
        self.size += slot.size
        return True

    cdef int add(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags) except -1:
        """Take one field; returns 1 if the list is too large to go on."""
        cdef Slot *slot = self.find(name, value)
        cdef nghttp2_vec buffer = [NULL, 0]
        cdef Py_ssize_t size
        cdef tuple pair
        if slot != NULL:
            size = slot.size
        else:
            buffer = nghttp2_rcbuf_get_buf(value)
            size = nghttp2_rcbuf_get_buf(name).len + buffer.len + 32
        self.size += size
        if self.size > self.max_size:
            return self.size > self.max_size * BOMB
        if self.fields.count > self.max_fields or self.pseudo.count > self.max_fields:
            return 0
        if slot != NULL:
            pair = <tuple>slot.pair
        else:
            pair = (self.name_of(name, flags), PyBytes_FromStringAndSize(<const char *>buffer.base, buffer.len))
            if size <= SLOT_FIELD and not flags & NGHTTP2_NV_FLAG_NO_INDEX:
                _fill_slot(self.set_of(name, value), name, value, pair, size)
        if self.fields.count == 0 and PyBytes_AS_STRING(<bytes>pair[0])[0] == b":":
            return self.pseudo.append(pair)
        return self.fields.append(pair)

    cdef bytes name_of(self, nghttp2_rcbuf *buffer, uint8_t flags):
        """The name as a Python object; names in an HPACK table are found by their address."""
        cdef Name *slot = &self.names[(<size_t>buffer >> 5) & (NAMES - 1)]
        cdef nghttp2_vec content
        if slot.buffer == buffer:
            return <bytes>slot.name
        content = nghttp2_rcbuf_get_buf(buffer)
        name = _intern(content.base, content.len)
        if content.len <= SLOT_FIELD and not flags & NGHTTP2_NV_FLAG_NO_INDEX:
            if slot.buffer != NULL:
                nghttp2_rcbuf_decref(slot.buffer)
                Py_XDECREF(slot.name)
            nghttp2_rcbuf_incref(buffer)
            Py_INCREF(name)
            slot[0] = Name(buffer, <PyObject *>name)
        return name

    cdef tuple take(self, int kind, stream_id, bint end):
        """The frame event of the whole block; equal lists are the same tuples, which the codec compares by identity."""
        cdef Py_ssize_t size = self.size
        self.size = 0
        return (kind, stream_id, self.pseudo.take(size <= REPEATED), self.fields.take(size <= REPEATED), size, end)
