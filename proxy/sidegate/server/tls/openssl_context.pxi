# The settings of one certificate of a listener, and the callbacks by which OpenSSL asks for decisions in a handshake.
# Included by openssl.pyx.

cdef class OpensslContext:
    """One ``SSL_CTX``. ``position``: that of its certificate among the listener's.

    ``choose``: a function of the SNI (None without one) that returns the context to go on with; None: this one.
    ``tickets``: the ``engine.TicketKeys``, or None for keys of its own. ``staple``: a function that returns the OCSP
    response in DER, or None. ``key_log``: a function that takes a line of NSS's key log, or None.
    """

    cdef SSL_CTX *ctx
    cdef bytes protocols
    cdef readonly int position
    cdef object choose
    cdef object tickets
    cdef object staple
    cdef object key_log

    def __init__(self, int position, int version, bytes protocols not None, bytes session_context not None):
        """``version``: the lowest, as on the wire. ``protocols``: as in ALPN's extension."""
        self.position = position
        self.protocols = protocols
        ERR_clear_error()
        self.ctx = SSL_CTX_new(TLS_server_method())
        if self.ctx == NULL:
            raise MemoryError
        SSL_CTX_set_ex_data(self.ctx, 0, <void *>self)
        SSL_CTX_set_options(
            self.ctx,
            SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE
            | SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_mode(self.ctx, SSL_MODE_RELEASE_BUFFERS)
        SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_OFF)  # tickets hold the sessions
        _check(SSL_CTX_set_min_proto_version(self.ctx, version))
        _check(SSL_CTX_set_session_id_context(
            self.ctx, <const unsigned char *>PyBytes_AS_STRING(session_context), PyBytes_GET_SIZE(session_context)))
        SSL_CTX_set_alpn_select_cb(self.ctx, _on_alpn, NULL)

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    def offer(self, bytes ciphers not None, bytes suites not None, bytes groups not None):
        """Suites of TLS 1.2, those of TLS 1.3, and curves, as OpenSSL writes them; no curves: OpenSSL's own."""
        ERR_clear_error()
        _check(SSL_CTX_set_cipher_list(self.ctx, ciphers))
        _check(SSL_CTX_set_ciphersuites(self.ctx, suites))
        if groups:
            _check(SSL_CTX_set1_groups_list(self.ctx, groups))

    def load(self, bytes cert not None, bytes key not None):
        """Load a chain with its key from PEM files."""
        ERR_clear_error()
        _check(SSL_CTX_use_certificate_chain_file(self.ctx, cert) == 1)
        _check(SSL_CTX_use_PrivateKey_file(self.ctx, key, SSL_FILETYPE_PEM) == 1)
        _check(SSL_CTX_check_private_key(self.ctx) == 1)

    def verify(self, bytes authorities not None, bint required):
        """Ask clients for a certificate of these authorities."""
        ERR_clear_error()
        _check(SSL_CTX_load_verify_locations(self.ctx, authorities, NULL) == 1)
        SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER | (SSL_VERIFY_FAIL_IF_NO_PEER_CERT if required else 0), NULL)

    def ask(self, choose, tickets, staple, key_log):
        """Set what the callbacks call."""
        self.choose, self.tickets, self.staple, self.key_log = choose, tickets, staple, key_log
        if choose is not None:
            SSL_CTX_set_tlsext_servername_callback(self.ctx, _on_name)
        if tickets is not None:
            SSL_CTX_set_tlsext_ticket_key_evp_cb(self.ctx, _on_ticket)
            SSL_CTX_set_timeout(self.ctx, tickets.lifetime)
        if staple is not None:
            SSL_CTX_set_tlsext_status_cb(self.ctx, _on_status)
        if key_log is not None:
            SSL_CTX_set_keylog_callback(self.ctx, _on_secret)


cdef OpensslContext _context_of(const SSL *ssl):
    return <OpensslContext>SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)


cdef int _on_alpn(
    SSL *ssl, const unsigned char **chosen, unsigned char *length, const unsigned char *offered, unsigned int size,
    void *argument
) noexcept:
    cdef bytes protocols = _context_of(ssl).protocols
    cdef int result = SSL_select_next_proto(
        <unsigned char **>chosen, length, <const unsigned char *>PyBytes_AS_STRING(protocols),
        <unsigned int>PyBytes_GET_SIZE(protocols), offered, size)
    return SSL_TLSEXT_ERR_OK if result == OPENSSL_NPN_NEGOTIATED else SSL_TLSEXT_ERR_ALERT_FATAL


cdef int _on_name(SSL *ssl, int *alert, void *argument) noexcept:
    cdef const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef OpensslContext chosen
    try:
        chosen = _context_of(ssl).choose(None if name == NULL else name.decode("ascii", "replace"))
    except Exception:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    SSL_set_SSL_CTX(ssl, chosen.ctx)
    return SSL_TLSEXT_ERR_OK


cdef int _on_status(SSL *ssl, void *argument) noexcept:
    """Staple the OCSP response. OpenSSL frees the copy."""
    cdef bytes response
    cdef unsigned char *copy
    try:
        response = _context_of(ssl).staple()
    except Exception:
        return SSL_TLSEXT_ERR_NOACK
    if not response:
        return SSL_TLSEXT_ERR_NOACK
    copy = <unsigned char *>OPENSSL_malloc(PyBytes_GET_SIZE(response))
    if copy == NULL:
        return SSL_TLSEXT_ERR_NOACK
    memcpy(copy, PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response))
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, PyBytes_GET_SIZE(response))
    return SSL_TLSEXT_ERR_OK


cdef void _on_secret(const SSL *ssl, const char *line) noexcept:
    try:
        _context_of(ssl).key_log(<bytes>line)
    except Exception:
        pass  # a full disk, for example: the connection goes on


cdef int _on_ticket(
    SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts
) noexcept:
    """Give OpenSSL the keys of a ticket (RFC 5077 4): the first for a new one, else the one that the ticket names.

    Returns 0 if there is none, which means a whole handshake, and 2 if the client shall get a new ticket.
    """
    cdef bytes key
    cdef tuple keys
    cdef int number
    cdef const char *data
    try:
        keys = _context_of(ssl).tickets.keys
    except Exception:
        return -1
    for number, key in enumerate(keys):
        data = PyBytes_AS_STRING(key)
        if encrypts:
            memcpy(name, data, TICKET_NAME)
            if RAND_bytes(iv, IV) != 1:
                return -1
        elif memcmp(name, data, TICKET_NAME) != 0:
            continue
        if not _set_ticket_key(<unsigned char *>data + TICKET_NAME, iv, cipher, mac, encrypts):
            return -1
        return 1 if encrypts or number == 0 else 2
    return 0


cdef bint _set_ticket_key(
    unsigned char *secret, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bint encrypts
) noexcept:
    """AES-256 and HMAC-SHA256, whose keys stand in this order in ``secret``."""
    cdef OSSL_PARAM params[3]
    params[0] = OSSL_PARAM_construct_octet_string(b"key", secret + TICKET_KEY, TICKET_KEY)
    params[1] = OSSL_PARAM_construct_utf8_string(b"digest", b"SHA256", 0)
    params[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, params) != 1:
        return False
    if encrypts:
        return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, secret, iv) == 1
    return EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, secret, iv) == 1
