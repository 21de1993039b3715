"""Talks to examples/c/vtr_service.c as test_package.sh asks: sound requests, and everything else.

package_client.py HOST:PORT|SOCKET EXPECTED
"""

import array
import socket
import struct
import sys

INVALID_ARGUMENT, UNSUPPORTED, NOT_FINITE = 1, 2, 3
FIRST = struct.pack("<4s", b"VTR1")


class Connection:
    def __init__(self, address: str) -> None:
        if address.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(20)
            self.socket.connect(address)
        else:
            host, port = address.split(":")
            self.socket = socket.create_connection((host, int(port)), timeout=20)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, f"the service closed the connection after {data!r}"
            data += part
        return data

    def answer(self) -> tuple[int, bytes]:
        status, count = struct.unpack("<II", self.read(8))
        return status, self.read(count)

    def ask(self, texts: int, k: int, candidates: int, body: bytes = b"") -> tuple[int, bytes]:
        self.socket.sendall(FIRST + struct.pack("<III", texts, k, candidates) + body)
        return self.answer()

    def closed(self) -> bool:
        return self.socket.recv(1) == b""


def hits(data: bytes, texts: int) -> list[list[tuple[int, float, str]]]:
    lists, at = [], 0
    for _ in range(texts):
        (found,) = struct.unpack_from("<I", data, at)
        at += 4
        one = []
        for _ in range(found):
            number, score, length = struct.unpack_from("<qfI", data, at)
            at += 16
            one.append((number, score, data[at : at + length].decode()))
            at += length
        lists.append(one)
    assert at == len(data)
    return lists


def read_expected(path: str) -> tuple[list[list[float]], list[list[tuple[int, float, str]]]]:
    numbers: list[list[float]] = []
    lists: list[list[tuple[int, float, str]]] = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.count(" ") > 10:
                numbers.append([float(x) for x in line.split()])
                lists.append([])
            else:
                number, score, name = line.rstrip("\n").split(" ", 2)
                single = struct.unpack("<f", struct.pack("<f", float(score)))[0]
                lists[-1].append((int(number), single, name))
    return numbers, lists


def main(address: str, expected_file: str) -> None:
    numbers, expected = read_expected(expected_file)
    connection = Connection(address)
    status, data = connection.ask(0, 0, 0)
    dim, words, videos = struct.unpack("<IIQ", data)
    assert (status, dim, words, videos) == (0, 16, 3, 6)

    sentences = b"".join(array.array("f", x[:dim]).tobytes() for x in numbers)
    body = sentences + b"".join(array.array("f", x[dim:]).tobytes() for x in numbers)
    for _ in range(3):
        status, data = connection.ask(2, 4, 0, body)
        assert status == 0 and hits(data, 2) == expected, (data, expected)
    status, data = connection.ask(2, 100, 0, body)
    assert status == 0 and [len(one) for one in hits(data, 2)] == [6, 6]
    status, data = connection.ask(2, 4, 3, body)
    assert status == 0 and [len(one) for one in hits(data, 2)] == [3, 3]

    # Requests that are refused, after which the connection goes on.
    for k in (0, 1001):
        status, data = connection.ask(2, k, 0, body)
        assert status == INVALID_ARGUMENT and b"k: expected" in data
    status, data = connection.ask(2, 4, 0, b"\xff" * len(body))
    assert status == NOT_FINITE and b"text" in data, (status, data)
    status, data = connection.ask(2, 4, 0, body)
    assert status == 0 and hits(data, 2) == expected

    # Headers that make no sense end it.
    for header in (b"GET / HTTP/1.1\r\n", FIRST + struct.pack("<III", 65, 1, 0), b"\xff" * 16):
        other = Connection(address)
        other.socket.sendall(header + b"x" * 1000)
        assert other.answer()[0] == INVALID_ARGUMENT and other.closed()
        other.socket.close()

    # Those who leave in the middle do no harm; beyond four connections there is an answer, not silence.
    for part in (
        b"",
        FIRST,
        FIRST + struct.pack("<III", 2, 4, 0),
        FIRST + struct.pack("<III", 2, 4, 0) + body[:99],
    ):
        other = Connection(address)
        other.socket.sendall(part)
        other.socket.close()
    busy = [Connection(address) for _ in range(8)]
    refused = 0
    for other in busy:
        try:
            status, _ = other.ask(0, 0, 0)
        except (ConnectionError, AssertionError):  # refused before it had asked
            status = UNSUPPORTED
        refused += status == UNSUPPORTED
    assert refused >= 5, refused
    for other in busy:
        other.socket.close()
    status, data = connection.ask(2, 4, 0, body)
    assert status == 0 and hits(data, 2) == expected


if __name__ == "__main__":
    main(*sys.argv[1:])
