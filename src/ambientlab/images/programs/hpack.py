"""Header compression of HTTP/2 (RFC 7541): reads all of it, and writes the plainest form there is."""

from collections import deque
from collections.abc import Iterable

Header = tuple[str, str]

_STATIC = """\
:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|\
:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|\
accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|\
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|\
cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|\
last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|\
server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""
_STATIC_TABLE = [(name, value) for name, _, value in (entry.partition(" ") for entry in _STATIC.split("|"))]

# Bits of the code of each byte and of the end of a string, `a` for 5. More is not to know: the code is canonical.
_LENGTHS = (
    "isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibcccccccccccccccccccc"
    "ccdcdioijbkabababbbaccbbbabcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqrsrrt"
    "qrssqqrqsrssprrrsrrsvvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwvz"
)


class CompressionError(Exception):
    """What cannot be read leaves the connection without a common state: it must end."""


def _codes() -> dict[tuple[int, int], int]:
    lengths = [ord(letter) - ord("a") + 5 for letter in _LENGTHS]
    codes = {}
    code = length = 0
    for symbol in sorted(range(257), key=lambda each: (lengths[each], each)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[(length, code)] = symbol
        code += 1
    return codes


_CODES = _codes()


def _unpacked(data: bytes) -> bytes:
    result = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            symbol = _CODES.get((length, code))
            if symbol is not None:
                if symbol == 256:
                    raise CompressionError("the end of a string within it")
                result.append(symbol)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise CompressionError("wrong padding")
    return bytes(result)


class Decoder:
    """Of one direction of a connection."""

    def __init__(self) -> None:
        self._table: deque[Header] = deque()
        self._size, self._limit = 0, 4096

    def decode(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                headers.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                self._limit, at = _integer(block, at, 5)
                self._evict()
            else:
                indexed = first & 0x40
                index, at = _integer(block, at, 6 if indexed else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                headers.append((name, value))
                if indexed:
                    self._table.appendleft((name, value))
                    self._size += len(name) + len(value) + 32
                    self._evict()
        return headers

    def _entry(self, index: int) -> Header:
        if 0 < index <= len(_STATIC_TABLE):
            return _STATIC_TABLE[index - 1]
        index -= len(_STATIC_TABLE) + 1
        if not 0 <= index < len(self._table):
            raise CompressionError(f"no entry {index}")
        return self._table[index]

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + 32


def encode(headers: Iterable[Header]) -> bytes:
    """Each header as it is, without a table to remember and without packing."""
    return b"".join(b"\0" + _plain(name) + _plain(value) for name, value in headers)


def _plain(text: str) -> bytes:
    data = text.encode("latin-1")
    length = len(data)
    if length < 127:
        return bytes([length]) + data
    head, length = bytearray([127]), length - 127
    while length >= 128:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + data


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The number that begins in the low `bits` of a byte, and where it ends."""
    mask = (1 << bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        if at >= len(block) or shift > 28:
            raise CompressionError("a number without an end")
        value += (block[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not block[at - 1] & 128:
            return value, at


def _string(block: bytes, at: int) -> tuple[str, int]:
    if at >= len(block):
        raise CompressionError("a string is missing")
    packed = block[at] & 0x80
    length, at = _integer(block, at, 7)
    data = block[at : at + length]
    if len(data) < length:
        raise CompressionError("a string without an end")
    return (_unpacked(data) if packed else data).decode("latin-1"), at + length
