"""C types of judging what an application sends."""

from sidegate.wire.fields cimport response_fields


cpdef tuple judge_start(message)
cpdef tuple judge_fields(raw, str what)
