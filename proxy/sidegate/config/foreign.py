"""The words of other servers for what a configuration says here, and for what Sidegate does not have.

``messages.py`` asks for the advice on an unknown key, and the command line for that on an unknown option. The words are
those of nginx, Caddy, NGINX Unit, uvicorn, gunicorn, hypercorn and of other proxies. A word that is close to one of our
own keys at its place needs no row: the nearest key is suggested.
"""

from __future__ import annotations

import re

_NO_HTTP1 = "HTTP/1.1 upstreams are not available yet"
_SERVERS = f"servers that speak HTTP/2 are 'h2c' (cleartext) or 'h2' (TLS) of a backend; {_NO_HTTP1}"
_NO_FILES = "Sidegate does not serve static files yet"
_NO_ACME = (
    "Sidegate does not request certificates yet: let an ACME client (certbot, lego) do it, and name its files in "
    "'tls.certificates' of a listener"
)
_NO_FILTERS = "Sidegate does not change requests or responses on their way yet"
_CERTIFICATES = "certificates are 'tls.certificates' of a listener, each with 'cert' and 'key'"
_APPLICATION = "applications are backends: 'app: module:attribute' below 'backends'"
_ADDRESS = "where to listen is the 'address' of an entry of 'listeners', such as 127.0.0.1:8080"
_POOL = "processes of an application are 'pool.workers' of its backend; 'processes' at the top level are the fronts"
_LOGGING = "logs are set in 'logging': 'level', 'format', 'accessLog', 'accessLogFile'"
_TRUST = "proxies whose forwarding headers are trusted are 'trustedProxies' at the top level"
_REDIRECT = "a redirect to https is 'httpsRedirect: true' of a listener"
_WEBSOCKET = "WebSockets are set in 'websocket' of a listener or a route"

_ADVICE: dict[str, str] = {
    # nginx, Caddy
    "server servers entrypoints frontend frontends": "what accepts connections is an entry of 'listeners'",
    "listen bind host port uds socket": _ADDRESS,
    "location locations handle handlepath rule rules": "paths are in 'routes', each with 'path' and 'backend'",
    "servername domain domains vhost site": "host names are 'hostnames' of a route",
    "upstream upstreams service services cluster clusters": _SERVERS,
    "proxy proxypass reverseproxy http http1 url fastcgipass uwsgipass phpfastcgi": _SERVERS,
    "static staticfiles root alias tryfiles index share fileserver autoindex": _NO_FILES,
    "acme letsencrypt autohttps email autossl certresolver": _NO_ACME,
    "filter filters middleware middlewares rewrite encode gzip brotli compress header": _NO_FILTERS,
    "addheader proxysetheader setheader responseheaders requestheaders cors limitreq ratelimit": _NO_FILTERS,
    "basicauth authbasic forwardauth": "Sidegate does not authenticate users",
    "include import": "a configuration is one file",
    "return redir redirect": "a fixed answer is a backend with 'respond': 'status', 'headers', 'body'",
    "redirectscheme redirections sslredirect forcessl forcehttps httpsonly": _REDIRECT,
    "sslcertificate sslcertificatekey ssl certfile keyfile sslcertfile sslkeyfile sslkeyfilepassword": _CERTIFICATES,
    "sslprotocols": "the lowest version of TLS is 'tls.minVersion' of a listener",
    "sslclientcertificate sslcacerts cacerts clientauth": "clients' certificates are 'tls.clientCertificates'",
    "clientmaxbodysize requestbodymaxsize maxbodysize": "the largest request body is 'limits.requestBody'",
    "keepalivetimeout timeoutkeepalive": "the time of an idle connection is 'timeouts.keepAlive'",
    "clientheadertimeout readheadertimeout": "the time of a request's head is 'timeouts.requestHead'",
    "clientbodytimeout": "the time without a byte of a request's body is 'timeouts.bodyIdle'",
    "sendtimeout": "the time in which a client takes no byte is 'timeouts.write'",
    "proxyreadtimeout requesttimeout responsetimeout timeout": "the time of a request is 'timeouts.request' of a route",
    "realip setrealipfrom trustedips proxyheaders forwardedallowips": _TRUST,
    "accesslog errorlog loglevel log logs logconfig logformat accesslogformat": _LOGGING,
    "workerconnections limitconcurrency": "requests in flight are 'limits.concurrentRequests'",
    # NGINX Unit
    "applications application apps module callable wsgiapp factory": _APPLICATION,
    "pass": "where a route leads to is its 'backend'",
    "action": "where a route leads to is its 'backend'; a fixed answer is a backend with 'respond'",
    "match uri uris": "what a route matches is its 'path', 'hostnames' or 'matches'",
    "targets": "each target is a backend of its own",
    "workingdirectory chdir cwd appdir pythonpath": "an application's folder is 'directory' of its backend",
    "environment environ": "environment variables are 'env' and 'envFile' of a backend's 'pool'",
    "home virtualenv venv": "a virtual environment is named by its interpreter, 'pool.python' of a backend",
    "prefix scriptname mount": "where an application is mounted is 'rootPath' of its backend",
    "protocol": "ASGI or WSGI is 'interface' of a backend; the versions of HTTP are 'protocols' of a listener",
    "isolation": "Sidegate isolates no workers; 'user', 'group', 'limits' are in a backend's 'pool'",
    # uvicorn, gunicorn, hypercorn
    "workers workerprocesses processes": _POOL,
    "workerclass workerclassname": "ASGI or WSGI is found by itself, or is 'interface' of a backend",
    "loop": "the event loop is 'eventLoop' at the top level",
    "ws wsmaxsize wspinginterval wspingtimeout wsmaxqueue wspermessagedeflate": _WEBSOCKET,
    "limitmaxrequests": "requests after which a worker is replaced are 'pool.maxRequests' of a backend",
    "gracefultimeout timeoutgracefulshutdown shutdowntimeout": "the time to finish requests is 'gracePeriod'",
    "preloadapp": "one import for all workers is 'preload' of a backend's 'pool'",
    "maxrequestsjitter": "that part of 'maxRequests' is 'recycleJitter' of a backend's 'pool'",
    "reloaddir reloadinclude": "files that are watched are 'reload.watch' of a backend's 'pool'",
}

_ADVICE_AT: dict[str, dict[str, str]] = {
    "admin": {"bind host listen port": "where it listens is 'address', such as 127.0.0.1:9090"},
    "routes": {
        "host hosts serveralias": "host names are 'hostnames' of a route",
        "header": "request headers that a route needs are 'headers' of an entry of 'matches'",
        "method methods": "a method is 'method' of an entry of 'matches'",
    },
    "backends": {
        "host port url address target targets socket": _SERVERS,
        "path": "an application's folder is 'directory' of its backend",
        "type language": "the key 'app', 'respond', 'h2c' or 'h2' says what a backend is",
    },
}
"""What a word means below this key of the top level, where that differs."""


_FILE = "a setting of the configuration file of `sidegate serve`; `sidegate run … --print-config` prints one"
_OPTIONS: dict[str, dict[str, str]] = {
    "run": {
        "-w --workers": "it is called --processes here",
        "-b --bind --listen": "write --host and --port, or --unix",
        "-p": "it is called --port here",
        "--uds --socket --fd": "write --unix PATH, or 'fd:3' as the 'address' of a configuration file",
        "--certfile --ssl-certfile --tls-cert": "it is called --cert here",
        "--keyfile --ssl-keyfile --tls-key": "it is called --key here",
        "--factory": "parentheses call a factory: module:attr()",
        "--loop": "it is called --event-loop here",
        "-k --worker-class --wsgi --asgi": "it is called --interface here",
        "--chdir --pythonpath --working-dir": "it is called --app-dir here",
        "--access-logfile --access-logformat": "it is called --access-log here",
        "--prefix --script-name --url-path-prefix": "it is called --root-path here",
        "--reload": "reloading is 'reload' of a backend's 'pool' in the configuration file of `sidegate serve`",
        "-c --config": "`sidegate serve FILE` reads a configuration",
    },
    "worker": {
        "-w --workers --processes": "a worker is one process: start several, or let `sidegate serve` run a 'pool'",
        "-b --host --port --unix --uds --listen": "write --bind unix:/path or --bind tcp://host:port",
        "--cert --certfile --ssl-certfile": "it is called --tls-cert here",
        "--key --keyfile --ssl-keyfile": "it is called --tls-key here",
        "--app-dir --chdir --pythonpath": "it is called --directory here",
        "--factory": "parentheses call a factory: module:attr()",
    },
    "serve": {"-c --config": "the file is an argument: `sidegate serve FILE`"},
}
"""Options that a command does not have, and what to write instead."""


def folded(word: str) -> str:
    """``word`` in lower case without the marks between its parts: ``accesslog`` for ``access_log``."""
    return re.sub("[-_.]", "", word).lower()


def _by_word(advice: dict[str, str]) -> dict[str, str]:
    return {word: text for words, text in advice.items() for word in words.split()}


_BY_WORD = _by_word(_ADVICE)
_BY_WORD_AT = {part: _by_word(advice) for part, advice in _ADVICE_AT.items()}


def advice(word: str, part: str | int = "") -> str:
    """A sentence for somebody who wrote ``word``, in any spelling (``proxy_pass``, ``proxyPass``); empty if none.

    ``part``: the key of the top level below which it was written.
    """
    key = folded(word)
    return _BY_WORD_AT.get(str(part), {}).get(key) or _BY_WORD.get(key, "")


def option_advice(option: str, command: str) -> str:
    """A sentence for somebody who gave ``command`` the unknown ``option``, such as ``--ssl-keyfile``; empty if none."""
    for options, text in _OPTIONS.get(command, {}).items():
        if option in options.split():
            return text
    meant = advice(option)
    if meant and command == "run":
        return f"{_FILE}: {meant}"
    return meant
