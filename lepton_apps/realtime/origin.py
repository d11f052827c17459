"""From which pages a socket is taken: those of this site, by the host that the browser asked."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain


def is_known_host(host: str, allowed_hosts: Sequence[str]) -> bool:
    """Whether a Host header names this site. A page whose name was rebound to us does not."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, list(allowed_hosts))


def is_own_origin(origin: str, host: str, trusted_origins: Sequence[str]) -> bool:
    """Whether the page of an Origin header is ours: of the same host and port, or trusted.

    ``host`` was checked. Cookies do not know ports, so a page on another port of the same host is
    another site. The scheme may differ: a proxy ends TLS.
    """
    try:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            return False
    except ValueError:
        return False
    if parts.netloc.lower() == host.lower() or origin in trusted_origins:
        return True
    # https://*.example.com, as Django's own check of forms reads it.
    wildcards = [urlsplit(trusted) for trusted in trusted_origins if "*" in trusted]
    return any(
        parts.scheme == trusted.scheme
        and is_same_domain(parts.netloc.lower(), trusted.netloc.lower().lstrip("*"))
        for trusted in wildcards
    )
