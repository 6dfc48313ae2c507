"""C types of a WebSocket's frames."""

cimport cython

from sidegate.wire.websocket.events cimport Closed, Message, Pong

cdef int _TEXT
cdef int _BINARY
cdef int _RSV1


cdef class WebSocketFrames:
    cdef public bint closing
    cdef public bint closed
    cdef public bint more
    cdef Py_ssize_t _max_message
    cdef object _deflate
    cdef object _zlib
    cdef object _controls
    cdef object _protocol
    cdef bytes _held
    cdef Py_ssize_t _at
    cdef bint _eof
    cdef Py_ssize_t _missing
    cdef object _message
    cdef bint _compressed
    cdef int _fragments
    cdef object _decoder
    cdef Py_ssize_t _batched
    cdef Py_ssize_t _reported
    cdef list _output

    @cython.locals(events=list, held=bytes, size=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, left=Py_ssize_t)
    cpdef list receive(self, bytes data, double now, Py_ssize_t most=*)
    @cython.locals(events=list)
    cpdef list receive_eof(self)
    cpdef send_text(self, str text)
    cpdef send_binary(self, bytes data)
    cpdef ping(self, bytes payload)
    cpdef close(self, object code=*, str reason=*)
    cpdef fail(self, int code, str reason)
    cpdef drop(self)
    cpdef release(self)
    @cython.locals(output=list)
    cpdef bytes take_output(self)
    @cython.locals(size=Py_ssize_t, first=int, length=Py_ssize_t, payload=Py_ssize_t, width=int, fault=tuple)
    cdef Py_ssize_t _frame(self, bytes data, Py_ssize_t at, double now, list events) except -2
    cdef _inflate(self, object extension, object frame, list events)
    @cython.locals(end=Py_ssize_t, frames=list, written=list)
    cdef Py_ssize_t _feed(self, bytes data, Py_ssize_t at, double now, list events) except -2
    cdef _on_control(self, object frame, double now, list events)
    cdef _on_data(self, object frame, list events)
    cdef _add_fragment(self, bytearray message, object frame, list events)
    cdef _report_whole(self, object opcode, object content, list events)
    cdef bint _valid_so_far(self, object frame, list events) except -1
    @cython.locals(size=Py_ssize_t)
    cdef _report(self, bint text, object content, list events)
    cdef _on_violation(self, object error, list events)
    cdef _violate(self, int code, str reason, list events)
    cdef _lose(self, list events)
    @cython.locals(size=Py_ssize_t)
    cdef _send(self, int first, bytes payload)
    cdef _extension(self, object deflate)


cdef _new_protocol(Py_ssize_t max_message, object deflate)
cdef _free(object protocol)
cdef tuple _length_fault(int first, object length, int width, Py_ssize_t max_message)
cdef str _too_many_bytes(Py_ssize_t max_message)
