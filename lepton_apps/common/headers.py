"""What every answer tells the browser to refuse, whatever gets into a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

POLICY: Final = "; ".join(
    (
        "default-src 'self'",  # the feed's websocket is of the same origin too
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# Nothing here asks for a device, so nothing that got into a page shall.
UNUSED: Final = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in UNUSED),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Sent where cookies are for TLS alone. Subdomains are not ours to decide about.
ONLY_TLS: Final = ("Strict-Transport-Security", f"max-age={365 * 24 * 3600}")
# The same for what is answered without Django.
RAW_HEADERS: Final = tuple((n.lower().encode(), v.encode()) for n, v in HEADERS.items())
