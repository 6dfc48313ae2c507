"""C types of the exchange."""

cimport cython
cimport sidegate.aio.thread_ident as threading

from sidegate.observe.record cimport Record
from sidegate.server.connection_base cimport ConnectionBase
from sidegate.server.messages cimport check_start
from sidegate.server.scope cimport request_scope
from sidegate.wire.events cimport Codec, RequestHead


cdef class ResponseHalf:
    cdef ConnectionBase _connection
    cdef Codec _codec
    cdef RequestHead _head
    cdef public int stream_id
    cdef public Record record
    cdef public object receiving
    cdef public object sending
    cdef int _status
    cdef list _headers
    cdef object _remaining
    cdef object _trailers

    cpdef check_present(self)
    cdef _start(self, message)
    cdef bint _is_bodiless(self)
    cdef _check_body(self, str what)
    @cython.locals(size=Py_ssize_t, end=bint)
    cdef _body(self, data, bint more)
    cdef _count_down(self, long long size, bint more)
    cdef _send_head(self, whole, bint end_stream=*)
    cdef _advance(self, bint end, bint more)
    cdef _send_trailers(self, message)
    cdef _send_early_hint(self, message)
    cdef _complete(self)


cdef class Exchange(ResponseHalf):
    cdef public object task
    cdef public double waiting_since
    cdef str _refusal
    cdef bint _continue
    cdef bint _cancelled
    cdef list _chunks
    cdef Py_ssize_t _held
    cdef long long _received
    cdef public list _readers

    cpdef feed(self, bytes data)
    cpdef end(self)
    cpdef disconnect(self, str reason=*)
    cpdef end_with(self, failure)
    cpdef cancel_runner(self)
    cpdef cancel(self)
    cdef dict _take(self)
    cdef _acknowledge_held(self)
    cdef _send_continue(self)
    cdef _wake(self)
    cdef _leave(self)
    cdef _check_declared_length(self, length)
    cdef _complete(self)
    cdef _complete_or_fail(self)
    cdef _fail(self, error)
    cpdef give_up(self, failure)
