# Queued data and the output that is ready to be sent. Included by nghttp2.pyx.

cdef enum:
    FIRST_OUTPUT = 4096
    PIECE = 1 << 16  # of output (events.PIECE): the kernel gives larger buffers anew each time, with page faults
    MOST_RESERVED = PIECE + (1 << 14) + 64  # it ends with a whole frame
    COPY_STEP = 2048


cdef void _copy(char *target, const char *source, size_t size) noexcept nogil:
    """``memcpy`` in steps that are too small for glibc to use ``rep movsb``.

    On AMD's Zen 3 and 4 that instruction is 16 times slower if the target's offset in its page is 1 to 31 bytes behind
    the source's (glibc's bug 30994); a frame header before a body often causes that. The compiler would turn a
    ``memcpy`` of bounded size into the same instruction; a ``memmove`` stays a call.
    """
    cdef size_t step
    while size:
        step = min(size, <size_t>COPY_STEP)
        memmove(target, source, step)
        target += step
        source += step
        size -= step


cdef bytes _bytes(const char *source, size_t size):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    _copy(PyBytes_AS_STRING(made), source, size)
    return made


cdef class Output:
    """Output as a bytes object under construction, so that taking it copies nothing."""

    cdef PyObject *made  # this object is its only owner
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef Py_ssize_t queued  # body bytes queued in all streams, to reserve room in one step

    def __dealloc__(self):
        Py_XDECREF(self.made)

    cdef char *reserve(self, size_t size) except NULL:
        """Where the next ``size`` bytes go; the caller writes them and adds to ``self.size``."""
        cdef Py_ssize_t needed = self.size + size, kept
        if needed > self.room:
            needed += min(self.queued + self.queued // 1024, <Py_ssize_t>MOST_RESERVED)  # plus the frame headers
            needed = max(needed, self.room * 2, <Py_ssize_t>FIRST_OUTPUT)
            if self.made == NULL:
                self.made = PyBytes_New(NULL, needed)
            else:
                kept = self.size
                self.size = self.room = 0  # a failing resize frees the object
                _PyBytes_Resize(&self.made, needed)
                self.size = kept
            self.room = needed
        return PyBytes_At(self.made) + self.size

    cdef int put(self, const char *source, size_t size) except -1:
        memcpy(self.reserve(size), source, size)
        self.size += size
        return 0

    cdef bytes take(self):
        cdef bytes taken
        if self.size == 0:
            return b""
        _PyBytes_Resize(&self.made, self.size)
        taken = <bytes>self.made
        Py_DECREF(taken)
        self.made = NULL
        self.size = self.room = 0
        return taken


@cython.no_gc  # the objects that it refers to never refer to it
@cython.freelist(64)
cdef class Outgoing:
    """The queue of one stream."""

    cdef object stream_id
    cdef bytes first
    cdef object rest
    cdef Py_ssize_t offset  # bytes of `first` already sent
    cdef Py_ssize_t size  # all bytes not sent yet
    cdef bint ended
    cdef bint deferred  # nghttp2 asked for data when there was none
    cdef list trailers

    cdef int add(self, bytes data) except -1:
        if not data:
            return 0
        if self.first is None:
            self.first = data
            self.offset = 0
        else:
            if self.rest is None:
                self.rest = deque()
            self.rest.append(data)
        self.size += PyBytes_GET_SIZE(data)
        return 0

    cdef int copy(self, char *target, size_t length) except -1:
        cdef size_t piece
        while length:
            piece = PyBytes_GET_SIZE(self.first) - self.offset
            if piece > length:
                piece = length
            _copy(target, PyBytes_AS_STRING(self.first) + self.offset, piece)
            target += piece
            length -= piece
            self.offset += piece
            self.size -= piece
            if self.offset == PyBytes_GET_SIZE(self.first):
                self.first = <bytes>self.rest.popleft() if self.rest else None
                self.offset = 0
        return 0
