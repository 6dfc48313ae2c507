# What waits to be sent and what is ready to be. Included by nghttp2.pyx.

cdef class Output:
    """Bytes on their way out, as a bytes object under construction, so that handing them out copies nothing."""

    cdef PyObject *made  # this object is its only owner
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef Py_ssize_t queued  # body bytes waiting in all streams, to reserve room in one piece

    def __dealloc__(self):
        Py_XDECREF(self.made)

    cdef char *reserve(self, size_t size) except NULL:
        """Where the next ``size`` bytes go; the caller fills them and adds to ``self.size``."""
        cdef Py_ssize_t needed = self.size + size, kept
        if needed > self.room:
            needed += min(self.queued + self.queued // 1024, <Py_ssize_t>MOST_RESERVED)  # frame headers come on top
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


cdef class Outgoing:
    """What is queued for one stream's response."""

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
            memcpy(target, PyBytes_AS_STRING(self.first) + self.offset, piece)
            target += piece
            length -= piece
            self.offset += piece
            self.size -= piece
            if self.offset == PyBytes_GET_SIZE(self.first):
                self.first = <bytes>self.rest.popleft() if self.rest else None
                self.offset = 0
        return 0
