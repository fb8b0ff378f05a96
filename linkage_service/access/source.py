"""Where a request comes from, as the network says it."""

from ipaddress import IPv6Address, ip_address

from fastapi import Request


def source_of(request: Request) -> str:
    """The address that a request comes from, in its usual form, for decisions and the ledger; "unknown" if it is none.

    A reverse proxy that is trusted says it in a header, as free text: nothing but an address may get through.
    """
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return "unknown"
    # How a socket for both families writes an IPv4 address.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
