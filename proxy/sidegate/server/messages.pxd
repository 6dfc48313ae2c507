"""C types of the check of an application's messages."""

from sidegate.wire.fields cimport response_fields


cpdef tuple check_start(message)
cpdef tuple check_fields(raw, str what)
