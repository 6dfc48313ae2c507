# The part of OpenSSL's C interface (3.0 and newer) that the binding uses, and what Cython's own cpython lacks.

from cpython.object cimport PyObject
from libc.stdint cimport uint16_t, uint64_t

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *PyBytes_New "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *PyBytes_At "PyBytes_AS_STRING"(PyObject *)

cdef extern from "openssl/crypto.h":
    const char *OpenSSL_version(int)
    void *OPENSSL_malloc(size_t)
    void OPENSSL_free(void *)
    enum:
        OPENSSL_VERSION_STRING

cdef extern from "openssl/err.h":
    void ERR_clear_error()
    unsigned long ERR_peek_last_error()
    int ERR_GET_REASON(unsigned long)
    const char *ERR_reason_error_string(unsigned long)

cdef extern from "openssl/rand.h":
    int RAND_bytes(unsigned char *, int)

cdef extern from "openssl/params.h":
    ctypedef struct OSSL_PARAM:
        pass
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char *, void *, size_t)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char *, char *, size_t)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "openssl/evp.h":
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    const EVP_CIPHER *EVP_aes_256_cbc()
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *, const OSSL_PARAM *)

cdef extern from "openssl/bio.h":
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int, const char *)
    int BIO_meth_set_write(BIO_METHOD *, int (*)(BIO *, const char *, int) noexcept)
    int BIO_meth_set_read(BIO_METHOD *, int (*)(BIO *, char *, int) noexcept)
    int BIO_meth_set_ctrl(BIO_METHOD *, long (*)(BIO *, int, long, void *) noexcept)
    BIO *BIO_new(const BIO_METHOD *)
    void BIO_set_data(BIO *, void *)
    void *BIO_get_data(BIO *)
    void BIO_set_init(BIO *, int)
    void BIO_set_retry_read(BIO *)
    void BIO_clear_retry_flags(BIO *)
    enum:
        BIO_TYPE_SOURCE_SINK
        BIO_CTRL_FLUSH

cdef extern from "openssl/x509.h":
    ctypedef struct X509:
        pass
    ctypedef struct STACK_OF_X509 "STACK_OF(X509)":
        pass
    int i2d_X509(X509 *, unsigned char **)
    void X509_free(X509 *)
    int sk_X509_num(const STACK_OF_X509 *)
    X509 *sk_X509_value(const STACK_OF_X509 *, int)

cdef extern from "openssl/ssl.h":
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CIPHER:
        pass

    const SSL_METHOD *TLS_server_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *)
    void SSL_CTX_free(SSL_CTX *)
    int SSL_CTX_set_ex_data(SSL_CTX *, int, void *)
    void *SSL_CTX_get_ex_data(const SSL_CTX *, int)
    uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t)
    long SSL_CTX_set_mode(SSL_CTX *, long)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *, long)
    long SSL_CTX_set_timeout(SSL_CTX *, long)
    int SSL_CTX_set_min_proto_version(SSL_CTX *, int)
    int SSL_CTX_set_cipher_list(SSL_CTX *, const char *)
    int SSL_CTX_set_ciphersuites(SSL_CTX *, const char *)
    int SSL_CTX_set1_groups_list(SSL_CTX *, const char *)
    int SSL_CTX_set_session_id_context(SSL_CTX *, const unsigned char *, unsigned int)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *, const char *)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int)
    int SSL_CTX_check_private_key(const SSL_CTX *)
    int SSL_CTX_load_verify_locations(SSL_CTX *, const char *, const char *)
    void SSL_CTX_set_verify(SSL_CTX *, int, void *)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *, int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int,
                           void *) noexcept, void *)
    long SSL_CTX_set_tlsext_servername_callback(SSL_CTX *, int (*)(SSL *, int *, void *) noexcept)
    long SSL_CTX_set_tlsext_servername_arg(SSL_CTX *, void *)
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX *, int (*)(SSL *, void *) noexcept)
    long SSL_CTX_set_tlsext_status_arg(SSL_CTX *, void *)
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *, int (*)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int) noexcept)
    void SSL_CTX_set_keylog_callback(SSL_CTX *, void (*)(const SSL *, const char *) noexcept)

    SSL *SSL_new(SSL_CTX *)
    void SSL_free(SSL *)
    void SSL_set_bio(SSL *, BIO *, BIO *)
    void SSL_set_accept_state(SSL *)
    SSL_CTX *SSL_get_SSL_CTX(const SSL *)
    SSL_CTX *SSL_set_SSL_CTX(SSL *, SSL_CTX *)
    int SSL_do_handshake(SSL *)
    int SSL_read(SSL *, void *, int)
    int SSL_write(SSL *, const void *, int)
    int SSL_shutdown(SSL *)
    int SSL_get_error(const SSL *, int)
    int SSL_has_pending(const SSL *)
    const char *SSL_get_version(const SSL *)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *)
    uint16_t SSL_CIPHER_get_protocol_id(const SSL_CIPHER *)
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *)
    const char *SSL_get_servername(const SSL *, int)
    int SSL_session_reused(const SSL *)
    X509 *SSL_get1_peer_certificate(const SSL *)
    STACK_OF_X509 *SSL_get_peer_cert_chain(const SSL *)
    long SSL_set_tlsext_status_ocsp_resp(SSL *, unsigned char *, long)
    int SSL_select_next_proto(unsigned char **, unsigned char *, const unsigned char *, unsigned int,
                              const unsigned char *, unsigned int)
    enum:
        OPENSSL_NPN_NEGOTIATED
        SSL_ERROR_WANT_READ
        SSL_ERROR_ZERO_RETURN
        SSL_FILETYPE_PEM
        SSL_MODE_RELEASE_BUFFERS
        SSL_SESS_CACHE_OFF
        SSL_TLSEXT_ERR_OK
        SSL_TLSEXT_ERR_NOACK
        SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_VERIFY_PEER
        SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        TLSEXT_NAMETYPE_host_name
    uint64_t SSL_OP_NO_COMPRESSION
    uint64_t SSL_OP_NO_RENEGOTIATION
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    uint64_t SSL_OP_PRIORITIZE_CHACHA
    # Reasons of failures.
    enum:
        SSL_R_HTTP_REQUEST
        SSL_R_HTTPS_PROXY_REQUEST
        SSL_R_WRONG_VERSION_NUMBER
        SSL_R_UNSUPPORTED_PROTOCOL
        SSL_R_VERSION_TOO_LOW
        SSL_R_NO_SHARED_CIPHER
        SSL_R_NO_APPLICATION_PROTOCOL
        SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
        SSL_R_CERTIFICATE_VERIFY_FAILED
        SSL_AD_REASON_OFFSET
        SSL_AD_BAD_CERTIFICATE
        SSL_AD_CERTIFICATE_UNKNOWN
        SSL_AD_UNKNOWN_CA
