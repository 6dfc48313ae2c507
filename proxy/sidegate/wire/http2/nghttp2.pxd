# The part of libnghttp2's C interface (1.43 and newer) that the binding uses, and what Cython's own cpython lacks.

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *PyBytes_New "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *PyBytes_At "PyBytes_AS_STRING"(PyObject *)
    PyObject *PyTuple_GET_ITEM(tuple, Py_ssize_t)

cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_rcbuf:
        pass
    ctypedef struct nghttp2_info:
        const char *version_str
    ctypedef struct nghttp2_vec:
        uint8_t *base
        size_t len
    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef struct nghttp2_data:
        nghttp2_frame_hd hd
        size_t padlen
    ctypedef struct nghttp2_headers:
        nghttp2_frame_hd hd
        int cat
    ctypedef struct nghttp2_rst_stream:
        uint32_t error_code
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef struct nghttp2_settings:
        size_t niv
        nghttp2_settings_entry *iv
    ctypedef struct nghttp2_ping:
        uint8_t *opaque_data
    ctypedef struct nghttp2_goaway:
        int32_t last_stream_id
        uint32_t error_code
        uint8_t *opaque_data
        size_t opaque_data_len
    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_data data
        nghttp2_headers headers
        nghttp2_rst_stream rst_stream
        nghttp2_settings settings
        nghttp2_ping ping
        nghttp2_goaway goaway
    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef union nghttp2_data_source:
        int fd
        void *ptr
    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *) noexcept
    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

    enum:
        NGHTTP2_DATA, NGHTTP2_HEADERS, NGHTTP2_PRIORITY, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS
        NGHTTP2_PUSH_PROMISE, NGHTTP2_PING, NGHTTP2_GOAWAY, NGHTTP2_WINDOW_UPDATE, NGHTTP2_CONTINUATION
        NGHTTP2_FLAG_NONE, NGHTTP2_FLAG_END_STREAM, NGHTTP2_FLAG_ACK
        NGHTTP2_NV_FLAG_NONE, NGHTTP2_NV_FLAG_NO_INDEX, NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE
        NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_COPY, NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        NGHTTP2_ERR_PAUSE, NGHTTP2_ERR_DEFERRED, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_FLOW_CONTROL
        NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_BAD_CLIENT_MAGIC, NGHTTP2_HCAT_REQUEST

    nghttp2_info *nghttp2_version(int least_version)
    const char *nghttp2_strerror(int lib_error_code)

    void nghttp2_rcbuf_incref(nghttp2_rcbuf *)
    void nghttp2_rcbuf_decref(nghttp2_rcbuf *)
    nghttp2_vec nghttp2_rcbuf_get_buf(nghttp2_rcbuf *)

    int nghttp2_option_new(nghttp2_option **)
    void nghttp2_option_del(nghttp2_option *)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int)
    void nghttp2_option_set_no_http_messaging(nghttp2_option *, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option *, int)
    void nghttp2_option_set_max_outbound_ack(nghttp2_option *, size_t)
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option *, size_t)
    void nghttp2_option_set_max_deflate_dynamic_table_size(nghttp2_option *, size_t)
    void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option *, uint32_t)

    void nghttp2_option_set_user_recv_extension_type(nghttp2_option *, uint8_t)

    ctypedef int (*on_hd)(nghttp2_session *, const nghttp2_frame_hd *, void *) noexcept
    ctypedef int (*on_frame)(nghttp2_session *, const nghttp2_frame *, void *) noexcept
    ctypedef int (*on_frame_code)(nghttp2_session *, const nghttp2_frame *, int, void *) noexcept
    ctypedef int (*on_field)(nghttp2_session *, const nghttp2_frame *, nghttp2_rcbuf *, nghttp2_rcbuf *,
                             uint8_t, void *) noexcept
    ctypedef int (*on_chunk)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *) noexcept
    ctypedef int (*on_close)(nghttp2_session *, int32_t, uint32_t, void *) noexcept
    ctypedef int (*on_send_data)(nghttp2_session *, nghttp2_frame *, const uint8_t *, size_t,
                                 nghttp2_data_source *, void *) noexcept

    ctypedef int (*on_extension)(nghttp2_session *, void **, const nghttp2_frame_hd *, void *) noexcept

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **)
    void nghttp2_session_callbacks_del(nghttp2_session_callbacks *)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(nghttp2_session_callbacks *, on_hd)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *, on_frame)
    void nghttp2_session_callbacks_set_on_header_callback2(nghttp2_session_callbacks *, on_field)
    void nghttp2_session_callbacks_set_on_invalid_header_callback2(nghttp2_session_callbacks *, on_field)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *, on_frame)
    void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(nghttp2_session_callbacks *, on_frame_code)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *, on_chunk)
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *, on_close)
    void nghttp2_session_callbacks_set_on_frame_send_callback(nghttp2_session_callbacks *, on_frame)
    void nghttp2_session_callbacks_set_on_frame_not_send_callback(nghttp2_session_callbacks *, on_frame_code)
    void nghttp2_session_callbacks_set_send_data_callback(nghttp2_session_callbacks *, on_send_data)

    void nghttp2_session_callbacks_set_unpack_extension_callback(nghttp2_session_callbacks *, on_extension)

    ctypedef struct nghttp2_mem:
        void *mem_user_data
        void *(*malloc)(size_t, void *) noexcept
        void (*free)(void *, void *) noexcept
        void *(*calloc)(size_t, size_t, void *) noexcept
        void *(*realloc)(void *, size_t, void *) noexcept

    int nghttp2_session_server_new3(nghttp2_session **, const nghttp2_session_callbacks *, void *,
                                    const nghttp2_option *, nghttp2_mem *)
    int nghttp2_session_client_new3(nghttp2_session **, const nghttp2_session_callbacks *, void *,
                                    const nghttp2_option *, nghttp2_mem *)
    void nghttp2_session_del(nghttp2_session *)
    ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **)
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t)
    int32_t nghttp2_session_get_stream_local_window_size(nghttp2_session *, int32_t)
    int nghttp2_session_get_stream_remote_close(nghttp2_session *, int32_t)
    int nghttp2_session_get_stream_local_close(nghttp2_session *, int32_t)
    void *nghttp2_session_get_stream_user_data(nghttp2_session *, int32_t)
    int nghttp2_session_set_stream_user_data(nghttp2_session *, int32_t, void *)
    int nghttp2_session_consume(nghttp2_session *, int32_t, size_t)
    int nghttp2_session_consume_connection(nghttp2_session *, size_t)
    int nghttp2_session_resume_data(nghttp2_session *, int32_t)
    int nghttp2_submit_settings(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t)
    int32_t nghttp2_submit_request(nghttp2_session *, const void *, const nghttp2_nv *, size_t,
                                   const nghttp2_data_provider *, void *)
    int nghttp2_submit_response(nghttp2_session *, int32_t, const nghttp2_nv *, size_t, const nghttp2_data_provider *)
    int32_t nghttp2_submit_headers(nghttp2_session *, uint8_t, int32_t, const void *, const nghttp2_nv *, size_t,
                                   void *)
    int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t)

cdef extern from *:
    """
    #include <nghttp2/nghttp2.h>
    /* Distributions backport these two to older releases, so not the version number but the linker decides. */
    #if defined(__GNUC__) && !defined(__APPLE__)
    extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t)
        __attribute__((weak));
    extern void nghttp2_option_set_max_continuations(nghttp2_option *, size_t) __attribute__((weak));
    static void sidegate_leave_counting_to_us(nghttp2_option *option, size_t continuations) {
        if (nghttp2_option_set_stream_reset_rate_limit)
            nghttp2_option_set_stream_reset_rate_limit(option, UINT64_C(1) << 40, UINT64_C(1) << 40);
        if (nghttp2_option_set_max_continuations)
            nghttp2_option_set_max_continuations(option, continuations);
    }
    #else
    static void sidegate_leave_counting_to_us(nghttp2_option *option, size_t continuations) {
    #if NGHTTP2_VERSION_NUM >= 0x013900
        nghttp2_option_set_stream_reset_rate_limit(option, UINT64_C(1) << 40, UINT64_C(1) << 40);
    #endif
    #if NGHTTP2_VERSION_NUM >= 0x013d00
        nghttp2_option_set_max_continuations(option, continuations);
    #endif
    }
    #endif
    """
    void sidegate_leave_counting_to_us(nghttp2_option *option, size_t continuations)
