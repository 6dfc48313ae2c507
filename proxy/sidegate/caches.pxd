"""C types of the bounded caches."""


cpdef remember(dict cache, key, value, Py_ssize_t most)
