"""C types of judging what an application sends."""

from sidegate.wire.fields cimport response_fields


cpdef tuple check_start(message)
cpdef tuple check_fields(raw, str what)
