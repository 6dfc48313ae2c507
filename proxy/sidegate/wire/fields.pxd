"""C types of the header policy."""

cimport cython

from sidegate.caches cimport remember

cdef dict _checked_pairs


@cython.locals(kept=list, checked=tuple, field_=tuple, options=list, hop=list, close=bint, dated=bint, large=bint, name=object, value=object)
cpdef tuple response_fields(raw)
cpdef bint values_clean(list fields)
