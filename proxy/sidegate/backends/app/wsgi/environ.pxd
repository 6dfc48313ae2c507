"""C types of the environ."""

cimport cython

from sidegate.caches cimport remember


@cython.locals(environ=dict, key=str, name=bytes, value=bytes, raw_path=bytes, raw=str, query=str, root_path=str)
cpdef dict make_environ(scope, dict base)
cdef tuple _mounted(str root_path, str path)
cdef str _new_key(bytes name)
cdef _add_server(dict environ, scope)
cdef _add_tls(dict environ, tls)
