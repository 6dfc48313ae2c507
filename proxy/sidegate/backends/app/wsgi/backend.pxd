"""C types of the WSGI backend."""

cimport cython

from sidegate.backends.backend cimport Backend
from sidegate.backends.wait_queue cimport WaitQueue
from sidegate.backends.app.wsgi.job cimport Abandonment, Job, Mailbox
from sidegate.backends.app.wsgi.threads cimport Threads
from sidegate.observe.record cimport Record
from sidegate.observe.thread_meter cimport ThreadMeter


cdef class WsgiBackend(Backend):
    cdef public bint behind_front
    cdef public WaitQueue wait_queue
    cdef public Threads threads
    cdef public ThreadMeter thread_meter
    cdef public Mailbox mailbox
    cdef public object buffering
    cdef object _app
    cdef dict _base
    cdef str _root_path
    cdef object _stuck

    cpdef act(self, Job job)
    cpdef begin(self, Job job)
    cpdef abandon(self, Job job)
    @cython.locals(abandonment=Abandonment)
    cpdef release(self, Job job)


cdef class WsgiRequest:
    cdef WsgiBackend _backend
    cdef object _scope
    cdef object _receive
    cdef object _send
    cdef Record _record
    cdef object _fetching
    cdef object _buffer
    cdef object _headers

    cdef Py_ssize_t _note_headers(self, message) except -1
    cdef _buffered(self, sent, Py_ssize_t size)
    cdef bint _may_buffer(self) except -1
