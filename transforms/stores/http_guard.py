"""Which addresses may be reached on behalf of a manifest that is not trusted."""

from __future__ import annotations

import ipaddress

# These addresses embed an IPv4 one, which is what is really reached: RFC 6052, RFC 3056.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


class BlockedHostError(Exception):
    """A host resolves to an address that must not be reached."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, by RFC 6890 and its updates."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip in _SIX_TO_FOUR:
            inner = ip.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def check_public(host: str, address: str) -> None:
    """Refuses an address of a host that is not public.

    Raises:
      BlockedHostError: it is not.
    """
    if not is_public(address):
        raise BlockedHostError(f"{host} is at {address}, which is not a public address")
