"""C types of the header policy."""

cimport cython

cdef dict _checked_pairs


@cython.locals(kept=list, checked=tuple, field_=tuple, name=object, value=object)
cpdef tuple response_fields(raw)
cpdef bint values_clean(list fields)
