# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The binding of the openssl engine: it adapts the C library to the interface in ``engine.py``.

``openssl_engine.py`` makes the contexts; the transport uses the sessions. A session owns one ``SSL``, the output that
was not taken, and nothing of its input.

How it works. ``SSL`` reads from and writes to a BIO of our own. It reads directly from the bytes that were passed to
``receive``, of which OpenSSL takes all (it keeps the beginning of a record itself), and writes directly into a bytes
object, which becomes the output. So what is decrypted or encrypted is copied once. ``SSL_MODE_RELEASE_BUFFERS`` gives
OpenSSL's own buffers back while nothing is in them.

The GIL is held throughout: one call takes microseconds, or a fraction of a millisecond for a signature by RSA; where
threads compute, to get the GIL back may take 5 ms. So callbacks may call Python.

It raises ``OpensslError`` for settings that OpenSSL refuses, and ``MemoryError``; faults of a peer are a ``failure``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF
from libc.string cimport memcmp, memcpy

from sidegate.server.tls import engine as _engine
from sidegate.server.tls.engine import Facts, Failure

cdef int HANDSHAKE = _engine.HANDSHAKE, OPEN = _engine.OPEN, ENDED = _engine.ENDED, CLOSED = _engine.CLOSED
cdef int TICKET_NAME = _engine.TICKET_NAME, TICKET_KEY = _engine.TICKET_KEY
cdef dict _reasons = {
    SSL_R_HTTP_REQUEST: _engine.CLEARTEXT,
    SSL_R_HTTPS_PROXY_REQUEST: _engine.CLEARTEXT,
    SSL_R_WRONG_VERSION_NUMBER: _engine.CLEARTEXT,
    SSL_R_UNSUPPORTED_PROTOCOL: "protocol_version",
    SSL_R_VERSION_TOO_LOW: "protocol_version",
    SSL_R_NO_SHARED_CIPHER: "no_shared_cipher",
    SSL_R_NO_APPLICATION_PROTOCOL: "no_application_protocol",
    SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "no_client_certificate",
    SSL_R_CERTIFICATE_VERIFY_FAILED: "client_certificate",
    SSL_AD_REASON_OFFSET + SSL_AD_BAD_CERTIFICATE: "certificate_rejected",
    SSL_AD_REASON_OFFSET + SSL_AD_CERTIFICATE_UNKNOWN: "certificate_rejected",
    SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_CA: "certificate_rejected",
}

cdef enum:
    RECORD = 1 << 14  # plaintext of the largest record (RFC 8446 5.1)
    OVERHEAD = 64  # more than what any suite adds to a record
    SCRATCH = 6 * RECORD  # a read of the event loop and the rest of a record before it
    IV = 16

cdef char scratch[SCRATCH]
cdef BIO_METHOD *_method = NULL


class OpensslError(Exception):
    """OpenSSL refuses a setting; the message is its own."""


def library_version():
    """OpenSSL's version: ``3.0.19``."""
    return OpenSSL_version(OPENSSL_VERSION_STRING).decode()


cdef str _last_error():
    cdef const char *text = ERR_reason_error_string(ERR_peek_last_error())
    return "unknown error" if text == NULL else text.decode("ascii", "replace")


cdef int _check(bint done) except -1:
    if not done:
        raise OpensslError(_last_error())
    return 0


include "openssl_context.pxi"


cdef class OpensslSession:
    """See ``engine.Session``."""

    cdef SSL *ssl
    cdef OpensslContext context  # keeps what the callbacks need
    cdef const char *input
    cdef Py_ssize_t input_left
    cdef PyObject *output
    cdef Py_ssize_t output_size
    cdef readonly int state
    cdef readonly object failure

    def __init__(self, OpensslContext context not None):
        cdef BIO *bio
        self.context = context
        ERR_clear_error()
        self.ssl = SSL_new(context.ctx)
        bio = BIO_new(_method) if self.ssl != NULL else NULL
        if bio == NULL:
            raise MemoryError
        BIO_set_data(bio, <void *>self)
        BIO_set_init(bio, 1)
        SSL_set_bio(self.ssl, bio, bio)
        SSL_set_accept_state(self.ssl)
        self.state = HANDSHAKE

    def __dealloc__(self):
        SSL_free(self.ssl)
        Py_XDECREF(self.output)

    def receive(self, bytes data not None):
        cdef bytes plain = b""
        if self.state >= ENDED:
            return plain
        self.input, self.input_left = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        ERR_clear_error()
        if self.state == HANDSHAKE:
            self.shake()
        if self.state == OPEN:
            plain = self.read()
        self.input, self.input_left = NULL, 0
        return plain

    cdef int shake(self) except -1:
        cdef int result = SSL_do_handshake(self.ssl)
        if result == 1:
            self.state = OPEN
        elif SSL_get_error(self.ssl, result) != SSL_ERROR_WANT_READ:
            self.fail()
        return 0

    cdef bytes read(self):
        cdef list pieces = None
        cdef bytes last
        cdef int size, error, used = 0
        # Without more input there is nothing more to read, unless OpenSSL holds some.
        while self.input_left or SSL_has_pending(self.ssl):
            if used > SCRATCH - RECORD:
                pieces = pieces or []
                pieces.append(PyBytes_FromStringAndSize(scratch, used))
                used = 0
            size = SSL_read(self.ssl, scratch + used, SCRATCH - used)
            if size > 0:
                used += size
                continue
            error = SSL_get_error(self.ssl, size)
            if error == SSL_ERROR_ZERO_RETURN:
                self.state = ENDED
            elif error != SSL_ERROR_WANT_READ:
                self.fail()
            break
        last = PyBytes_FromStringAndSize(scratch, used) if used else b""
        return last if pieces is None else b"".join([*pieces, last])

    cdef int fail(self) except -1:
        cdef str text = _last_error()
        self.state = CLOSED
        self.failure = Failure(_reasons.get(ERR_GET_REASON(ERR_peek_last_error()), "other"), text)
        ERR_clear_error()
        return 0

    def encrypt(self, bytes data not None):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if (self.state == OPEN or self.state == ENDED) and size:
            self.reserve(size + (size // RECORD + 1) * OVERHEAD)
            ERR_clear_error()
            if SSL_write(self.ssl, PyBytes_AS_STRING(data), <int>size) <= 0:
                self.fail()
        return self.take()

    def close(self):
        if self.state == OPEN or self.state == ENDED:
            ERR_clear_error()
            SSL_shutdown(self.ssl)
            ERR_clear_error()
            self.state = CLOSED

    def take_output(self):
        return b"" if self.output == NULL else self.take()

    cdef bytes take(self):
        cdef bytes taken
        if self.output == NULL:
            return b""
        _PyBytes_Resize(&self.output, self.output_size)
        taken = <bytes>self.output
        Py_XDECREF(self.output)
        self.output, self.output_size = NULL, 0
        return taken

    cdef int reserve(self, Py_ssize_t size) except -1:
        """Make room for ``size`` more bytes of output."""
        cdef Py_ssize_t wanted = self.output_size + size
        if self.output == NULL:
            self.output = PyBytes_New(NULL, wanted)
        elif PyBytes_GET_SIZE(<bytes>self.output) < wanted:
            _PyBytes_Resize(&self.output, wanted + wanted // 2)
        return 0

    cdef int append(self, const char *data, Py_ssize_t size) except -1:
        self.reserve(size)
        memcpy(PyBytes_At(self.output) + self.output_size, data, size)
        self.output_size += size
        return 0

    def facts(self):
        cdef const unsigned char *protocol = NULL
        cdef unsigned int length = 0
        cdef const char *name = SSL_get_servername(self.ssl, TLSEXT_NAMETYPE_host_name)
        cdef const SSL_CIPHER *cipher = SSL_get_current_cipher(self.ssl)
        SSL_get0_alpn_selected(self.ssl, &protocol, &length)
        return Facts(
            SSL_get_version(self.ssl).decode(),
            0 if cipher == NULL else SSL_CIPHER_get_protocol_id(cipher),
            None if protocol == NULL else (<const char *>protocol)[:length].decode("ascii", "replace"),
            None if name == NULL else name.decode("ascii", "replace"),
            _context_of(self.ssl).position,
            SSL_session_reused(self.ssl) == 1,
        )

    def client_chain(self):
        cdef list found = []
        cdef STACK_OF_X509 *chain = SSL_get_peer_cert_chain(self.ssl)
        cdef X509 *leaf = SSL_get1_peer_certificate(self.ssl)
        cdef int number
        if leaf == NULL:
            return found
        found.append(_der(leaf))
        X509_free(leaf)
        if chain != NULL:
            for number in range(sk_X509_num(chain)):
                found.append(_der(sk_X509_value(chain, number)))
        return found


cdef bytes _der(X509 *certificate):
    cdef unsigned char *data = NULL
    cdef int size = i2d_X509(certificate, &data)
    if size < 0:
        raise MemoryError
    try:
        return PyBytes_FromStringAndSize(<char *>data, size)
    finally:
        OPENSSL_free(data)


# The BIO below an SSL: what it reads is the input of ``receive``, what it writes is the output.

cdef int _bio_read(BIO *bio, char *target, int size) noexcept:
    cdef OpensslSession session = <OpensslSession>BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    if session.input_left == 0:
        BIO_set_retry_read(bio)
        return -1
    if size > session.input_left:
        size = <int>session.input_left
    memcpy(target, session.input, size)
    session.input += size
    session.input_left -= size
    return size


cdef int _bio_write(BIO *bio, const char *data, int size) noexcept:
    cdef OpensslSession session = <OpensslSession>BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    try:
        session.append(data, size)
    except MemoryError:
        return -1
    return size


cdef long _bio_control(BIO *bio, int command, long number, void *argument) noexcept:
    return command == BIO_CTRL_FLUSH


cdef int _prepare_bio() except -1:
    global _method
    _method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"sidegate")
    if _method == NULL:
        raise MemoryError
    BIO_meth_set_read(_method, _bio_read)
    BIO_meth_set_write(_method, _bio_write)
    BIO_meth_set_ctrl(_method, _bio_control)
    return 0


_prepare_bio()
