"""Which IP addresses are public: the whole internet's, and nobody's inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IpAddress = IPv4Address | IPv6Address

# Special purposes (IANA's registries) that the standard library of some Python versions takes for global.
_SPECIAL_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_SPECIAL_6 = (IPv6Network("2001::/23"), IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))
# RFC 4291: all that was ever given out for the internet lies within.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# RFC 6052: a translator turns these into the IPv4 address in their last 32 bits; networks without IPv4 need it.
_NAT64 = IPv6Network("64:ff9b::/96")
# RFC 5214: interface identifiers of ISATAP, which hold an IPv4 address.
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: IpAddress) -> bool:
    """Return whether an address belongs to the public internet, and so does every IPv4 address that it stands for.

    Mapped, NAT64, 6to4 and ISATAP addresses are followed to the IPv4 address within; Teredo, IPv4-compatible and
    unassigned addresses are never public.
    """
    if isinstance(address, IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not address.is_reserved
            and not any(address in network for network in _SPECIAL_4)
        )
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64:
        return is_public(last)
    if address not in _GLOBAL_UNICAST or not address.is_global or any(address in network for network in _SPECIAL_6):
        return False
    if address.sixtofour is not None and not is_public(address.sixtofour):
        return False
    isatap = (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    return not isatap or is_public(last)
