"""C types of what llhttp found; httptools calls the methods as Python methods."""


cdef class HeadParts:
    cdef public list fields
    cdef public bint complete
