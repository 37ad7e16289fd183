"""A client of the ng protocol in plain Python, for tests.

It shares no code with what it talks to. It speaks bencode and JSON, over UDP, TCP, HTTP and WebSocket,
and can be made to send things that no client should.
"""

import base64
import hashlib
import http.client
import itertools
import json
import os
import socket
import ssl
import struct
import time

PATIENCE = 20
"""Seconds until an answer that does not come is given up."""


class Malformed(Exception):
    """What came is no dictionary of the form expected."""


class Incomplete(Malformed):
    """What came may be the beginning of one."""


def encode(value):
    """Bencode. Text goes as UTF-8."""
    if isinstance(value, bool):
        raise TypeError("bencode has no truth values")
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, (list, tuple)):
        return b"l" + b"".join(map(encode, value)) + b"e"
    return b"d" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"e"


def decode_one(octets, at=0):
    """The value that begins at an octet, and where it ends."""
    kind = octets[at : at + 1]
    if not kind:
        raise Incomplete("it ends where a value should begin")
    if kind == b"i":
        end = octets.find(b"e", at)
        if end < 0:
            raise Incomplete("an integer without end")
        return int(octets[at + 1 : end]), end + 1
    if kind.isdigit():
        colon = octets.find(b":", at)
        if colon < 0:
            raise Incomplete("a length without end")
        end = colon + 1 + int(octets[at:colon])
        if end > len(octets):
            raise Incomplete("a string that is cut off")
        piece = octets[colon + 1 : end]
        try:
            return piece.decode(), end
        except UnicodeDecodeError:
            return piece, end
    if kind not in (b"l", b"d"):
        raise Malformed(f"{kind!r} at {at} begins nothing")
    at += 1
    items = []
    while octets[at : at + 1] != b"e":
        item, at = decode_one(octets, at)
        items.append(item)
    if kind == b"l":
        return items, at + 1
    if len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
        raise Malformed("a dictionary with a key that is no text")
    if len(set(items[::2])) * 2 != len(items):
        raise Malformed("a dictionary with a key twice")
    return dict(zip(items[::2], items[1::2])), at + 1


def decode(octets):
    """A whole message body in either form."""
    if octets.startswith(b"{"):
        return json.loads(octets)
    value, end = decode_one(octets)
    if end != len(octets):
        raise Malformed(f"{len(octets) - end} octets too many")
    return value


_count = itertools.count(1)


def cookie():
    """One that was not used before."""
    return f"{os.getpid()}_{next(_count)}"


class Client:
    """What all transports have. `form` is `bencode` or `json`."""

    form = "bencode"

    def body(self, request):
        if self.form == "json":
            return json.dumps(request).encode()
        return encode(request)

    def ask(self, request, name=None):
        """Sends a request and returns the dictionary that answers it."""
        name = name or cookie()
        answer = self.exchange(name.encode() + b" " + self.body(request))
        came, _, body = answer.partition(b" ")
        if came.decode() != name:
            raise Malformed(f"asked as {name}, answered as {came!r}")
        return decode(body)

    def __call__(self, command, **more):
        """`client("offer", call_id=…)`: underscores are hyphens."""
        request = {"command": command}
        request.update({key.replace("_", "-"): value for key, value in more.items()})
        return self.ask(request)


class Udp(Client):
    """One message a datagram."""

    def __init__(self, host, port, source=None, patience=PATIENCE):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((host, port))
        self.socket.settimeout(patience)

    def send(self, octets):
        self.socket.send(octets)

    def receive(self):
        return self.socket.recv(65536)

    def exchange(self, octets):
        self.send(octets)
        return self.receive()

    def silence(self, seconds):
        """Whether nothing comes for so long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.receive()
            return False
        except (TimeoutError, ConnectionRefusedError):
            return True
        finally:
            self.socket.settimeout(before)


class Stream(Client):
    """Messages one behind the other on a TCP connection, in TLS if a context is given."""

    def __init__(self, host, port, tls=None, source=None, patience=PATIENCE):
        self.socket = socket.create_connection(
            (host, port), timeout=patience, source_address=source and (source, 0)
        )
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self.held = b""

    def send(self, octets):
        self.socket.sendall(octets)

    def receive(self):
        """The next message, and no octet of the one behind it."""
        while True:
            name, blank, rest = self.held.partition(b" ")
            if blank:
                end = self._end(rest)
                if end is not None:
                    self.held = rest[end:]
                    return name + b" " + rest[:end]
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"closed after {self.held!r}")
            self.held += more

    @staticmethod
    def _end(octets):
        if octets.startswith(b"{"):
            try:
                _, end = json.JSONDecoder().raw_decode(octets.decode())
                return len(octets.decode()[:end].encode())
            except ValueError:
                return None
        try:
            return decode_one(octets)[1]
        except Incomplete:
            return None

    def exchange(self, octets):
        self.send(octets)
        return self.receive()


class Http(Client):
    """`POST` to /ng, or with `plain` to /ng-plain, where messages have no cookie."""

    def __init__(self, host, port, tls=None, token=None, plain=False, content=None):
        if tls:
            self.connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=tls)
        else:
            self.connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        self.plain = plain
        self.headers = {"Content-Type": content or "application/x-rtpengine-ng"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def post(self, path, octets):
        """The status and what came with it."""
        return self.request("POST", path, octets)

    def request(self, method, path, octets=None, headers=None):
        self.connection.request(method, path, octets, self.headers if headers is None else headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def exchange(self, octets):
        status, answer = self.post("/ng", octets)
        if status != 200:
            raise Malformed(f"HTTP status {status}: {answer!r}")
        return answer

    def ask(self, request, name=None):
        if not self.plain:
            return super().ask(request, name)
        status, answer = self.post("/ng-plain", self.body(request))
        if status != 200:
            raise Malformed(f"HTTP status {status}: {answer!r}")
        return decode(answer)


class WebSocket(Client):
    """RFC 6455 from the client's end, with one of the subprotocols of rtpengine."""

    def __init__(self, host, port, protocol="ng.rtpengine.com", tls=None, token=None, path="/"):
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self.plain = protocol.startswith("ng-plain")
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol}",
        ]
        if token:
            head.append(f"Authorization: Bearer {token}")
        self.socket.sendall("\r\n".join(head + ["", ""]).encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            field, _, value = line.decode().partition(":")
            headers[field.lower()] = value.strip()
        if self.status != 101:
            raise Malformed(f"HTTP status {self.status}")
        magic = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()
        if headers.get("sec-websocket-accept") != accept:
            raise Malformed("not the answer to this handshake")
        if headers.get("sec-websocket-protocol") != protocol:
            raise Malformed(f"subprotocol {headers.get('sec-websocket-protocol')}")

    def frame(self, octets, opcode=1, end=True):
        """One frame, masked as a client must."""
        first = (0x80 if end else 0) | opcode
        if len(octets) < 126:
            head = struct.pack("!BB", first, 0x80 | len(octets))
        elif len(octets) < 65536:
            head = struct.pack("!BBH", first, 0x80 | 126, len(octets))
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, len(octets))
        mask = os.urandom(4)
        masked = bytes(octet ^ mask[at % 4] for at, octet in enumerate(octets))
        self.socket.sendall(head + mask + masked)

    def receive_frame(self):
        """Opcode and content of the next frame."""
        head = self.file.read(2)
        if len(head) < 2:
            raise EOFError("closed")
        length = head[1] & 0x7F
        if head[1] & 0x80:
            raise Malformed("a server must not mask")
        if length == 126:
            (length,) = struct.unpack("!H", self.file.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.file.read(8))
        return head[0] & 0x0F, head[0] >> 7, self.file.read(length)

    def receive(self):
        whole = b""
        while True:
            opcode, last, octets = self.receive_frame()
            if opcode == 8:
                raise EOFError("closed by the server")
            if opcode in (9, 10):
                continue
            whole += octets
            if last:
                return whole

    def exchange(self, octets):
        self.frame(octets)
        return self.receive()

    def ask(self, request, name=None):
        if not self.plain:
            return super().ask(request, name)
        return decode(self.exchange(self.body(request)))


def wait(client):
    """Until a server that is being started answers over UDP."""
    until = time.monotonic() + PATIENCE
    before = client.socket.gettimeout()
    client.socket.settimeout(0.2)
    while True:
        try:
            client("ping")
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    client.socket.settimeout(before)


class Ports:
    """Where a server is: `127.0.0.1,udp:2223,http:2225` as `host`, `udp`, `http`."""

    def __init__(self, at):
        self.host, *ways = at.split(",")
        for way in ways:
            proto, port = way.split(":")
            setattr(self, proto, int(port))


def trusting():
    """A TLS context for servers whose certificate is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
