#!/usr/bin/env python3
"""Clients of an MSRP relay (RFC 4976), written from the RFCs and sharing nothing with the relay.

    relay_peer.py HOST PORT [--tls CA] [--plain PORT] [--through[-tls] HOST PORT] [SCENARIO ...]

Each scenario prints `ok NAME`; the first one that fails ends the program. Users are alice, bob, carol and
dave, each with the password NAME's-word. `--plain` is a socket of the same relay without TLS, for those
who do not use a relay. `--through` is another relay, where bob has his URI; `--through-tls` the same in TLS.
"""

import hashlib
import os
import re
import secrets
import socket
import ssl
import sys
import threading
import time

PATIENCE = 30


class Frame:
    def __init__(self, start, fields, body, flag):
        self.tid, self.what = start.split(" ", 2)[1:] if start.count(" ") > 1 else (None, None)
        self.fields, self.body, self.flag = fields, body, flag

    def get(self, name):
        return next((v for n, v in self.fields if n.lower() == name.lower()), None)

    @property
    def status(self):
        return int(self.what[:3]) if self.what[:3].isdigit() else None


class Connection:
    """One connection, and what was read of it."""

    def __init__(self, address, tls=None, name=None):
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=tls)
            self.socket = context.wrap_socket(self.socket, server_hostname=name or address[0])
        self.held = bytearray()

    @classmethod
    def taken(cls, taken):
        self = cls.__new__(cls)
        self.socket, self.held = taken, bytearray()
        taken.settimeout(PATIENCE)
        return self

    def send(self, octets):
        self.socket.sendall(octets)

    def more(self):
        octets = self.socket.recv(65536)
        if not octets:
            raise EOFError("closed")
        self.held += octets

    def line(self):
        while b"\r\n" not in self.held:
            self.more()
        end = self.held.index(b"\r\n")
        line = self.held[:end].decode()
        del self.held[: end + 2]
        return line

    def frame(self):
        start = self.line()
        assert start.startswith("MSRP "), start
        tid = start.split(" ")[1]
        fields = []
        while True:
            line = self.line()
            if line == "":
                break
            end = re.fullmatch(r"-------%s([$+#])" % re.escape(tid), line)
            if end:
                return Frame(start, fields, None, end[1])
            name, value = line.split(":", 1)
            fields.append((name, value.strip()))
        ending = re.compile(rb"\r\n-------%s([$+#])\r\n" % re.escape(tid.encode()))
        at = 0
        while True:
            end = ending.search(self.held, at)
            if end:
                body, flag, end = bytes(self.held[: end.start()]), end[1].decode(), end.end()
                del self.held[:end]
                return Frame(start, fields, body, flag)
            at = max(0, len(self.held) - len(tid) - 16)
            self.more()

    def closed(self):
        """Whether the other end closes, whatever it says first."""
        try:
            while True:
                self.more()
        except (EOFError, ConnectionError, ssl.SSLError):
            return True
        except TimeoutError:
            return False


def write(start, fields, body=None, flag="$", kind=None):
    tid = start.split(" ")[0]
    lines = ["MSRP " + start] + ["%s: %s" % field for field in fields]
    out = "\r\n".join(lines).encode() + b"\r\n"
    if body is not None:
        out += b"Content-Type: %s\r\n\r\n" % (kind or b"text/plain") + body + b"\r\n"
    return out + b"-------" + tid.encode() + flag.encode() + b"\r\n"


def tid():
    return secrets.token_hex(6)


def digest(user, realm, password, nonce, method, uri, nc, cnonce):
    h = lambda text: hashlib.md5(text.encode()).hexdigest()
    first = h("%s:%s:%s" % (user, realm, password))
    return h(":".join([first, nonce, nc, cnonce, "auth", h("%s:%s" % (method, uri))]))


class Client:
    """A user with a connection to the relay."""

    def __init__(self, relay, user, password=None):
        self.relay, self.user = relay, user
        self.password = password or user + "'s-word"
        self.connection = Connection(relay.address, relay.tls, relay.host)
        self.own = "%s://%s.invalid:2855/%s;tcp" % (relay.scheme, user, secrets.token_hex(8))
        self.use = None
        self.nonce = None

    def ask(self, fields=(), uri=None):
        to = uri or self.relay.uri
        name = tid()
        self.connection.send(write(name + " AUTH", [("To-Path", to), ("From-Path", self.own), *fields]))
        answer = self.connection.frame()
        assert answer.tid == name and answer.get("To-Path") == self.own, answer.fields
        return answer

    def credentials(self, challenge, with_uri, with_opaque, password=None, nc="00000001"):
        value = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
        assert "auth" in value["qop"] and value.get("algorithm", "MD5") == "MD5", challenge
        cnonce = secrets.token_hex(4)
        proof = (self.user, value["realm"], password or self.password, value["nonce"])
        response = digest(*proof, "AUTH", self.relay.uri, nc, cnonce)
        text = 'Digest username="%s", realm="%s", nonce="%s", qop=auth, nc=%s, cnonce="%s", response="%s"'
        text %= (self.user, value["realm"], value["nonce"], nc, cnonce, response)
        if with_uri:
            text += ', uri="%s"' % self.relay.uri
        if with_opaque and "opaque" in value:
            text += ', opaque="%s"' % value["opaque"]
        self.proof = digest(*proof, "", self.relay.uri, nc, cnonce)
        return text

    def authenticate(self, with_uri=False, with_opaque=True, expires=None):
        challenge = self.ask().get("WWW-Authenticate")
        fields = [("Authorization", self.credentials(challenge, with_uri, with_opaque))]
        if expires is not None:
            fields.append(("Expires", str(expires)))
        answer = self.ask(fields)
        if answer.status == 200:
            self.use = answer.get("Use-Path")
            assert re.fullmatch(r"msrps?://[^ ]+;tcp", self.use), self.use
            assert len(self.use.split("/")[3]) >= 11, "64 random bits"
            info = answer.get("Authentication-Info")
            # Not everybody's relay proves itself.
            assert info is None or self.proof in info, "the relay knows the password too"
        return answer

    @property
    def path(self):
        return self.use + " " + self.own

    def send(self, to, body, message=None, fields=(), flag="$", byte_range=None):
        name = tid()
        size = len(body)
        head = [
            ("To-Path", (self.use + " " if self.use else "") + to),
            ("From-Path", self.own),
            ("Message-ID", message or tid()),
            ("Byte-Range", byte_range or "1-%d/%d" % (size, size)),
            *fields,
        ]
        self.connection.send(write(name + " SEND", head, body, flag))
        return name

    def answer(self, frame, status="200 OK"):
        to = frame.get("From-Path").split(" ")[0]
        self.connection.send(write("%s %s" % (frame.tid, status), [("To-Path", to), ("From-Path", self.own)]))

    def receive(self, what):
        frame = self.connection.frame()
        assert what in frame.what, (self.user, what, frame.what, frame.fields, frame.body)
        return frame


class Relay:
    def __init__(self, host, port, tls, plain=None):
        self.host, self.address, self.tls = host, (host, port), tls
        self.scheme = "msrps" if tls else "msrp"
        self.uri = "%s://%s:%d;tcp" % (self.scheme, host, port)
        self.plain = (host, plain) if plain else self.address

    def client(self, user, **more):
        client = Client(self, user)
        answer = client.authenticate(**more)
        assert answer.status == 200, answer.what
        return client

    def stranger(self, user):
        """Somebody who does not use the relay and connects to it all the same."""
        client = Client.__new__(Client)
        client.relay, client.user, client.use = self, user, None
        client.connection = Connection(self.plain) if self.plain != self.address else Connection(self.address, self.tls, self.host)
        client.own = "msrp://%s.invalid:2855/%s;tcp" % (user, secrets.token_hex(8))
        return client


def exchange(a, b, text):
    """One message with everything that belongs to it. The paths are those of RFC 4976."""
    name = a.send(b.path if b.use else b.own, text, "m1d" + name_of(text), [("Success-Report", "yes")])
    heard = a.receive("200")
    assert heard.tid == name and heard.get("To-Path") == a.own
    frame = b.receive("SEND")
    assert frame.body == text and frame.flag == "$" and frame.tid != name
    assert frame.get("To-Path") == b.own, frame.get("To-Path")
    way = frame.get("From-Path").split(" ")
    assert way[-1] == a.own and (b.use is None or way[0] == b.use.split(" ")[-1]), way
    b.answer(frame)
    fields = [("To-Path", " ".join(way)), ("From-Path", b.own), ("Message-ID", frame.get("Message-ID"))]
    fields += [("Byte-Range", frame.get("Byte-Range")), ("Status", "000 200 OK")]
    b.connection.send(write(tid() + " REPORT", fields))
    report = a.receive("REPORT")
    assert report.get("To-Path") == a.own and report.get("Status").startswith("000 200")
    assert report.get("From-Path").split(" ")[-1] == b.own and report.get("Message-ID") == "m1d" + name_of(text)


def name_of(text):
    return hashlib.sha1(text).hexdigest()[:8]


def passwords(relay):
    client = Client(relay, "alice")
    first = client.ask()
    assert first.status == 401
    wrong = client.credentials(first.get("WWW-Authenticate"), False, True, "guess")
    again = client.ask([("Authorization", wrong)])
    assert again.status == 401 and "stale" not in again.get("WWW-Authenticate")
    nobody = Client(relay, "nobody", "word")
    proof = nobody.credentials(nobody.ask().get("WWW-Authenticate"), False, True)
    assert nobody.ask([("Authorization", proof)]).status == 401
    for with_uri in (False, True):
        for with_opaque in (False, True):
            answer = client.authenticate(with_uri, with_opaque)
            assert answer.status == 200 and int(answer.get("Expires")) > 0
    # A proof is good once.
    challenge = client.ask().get("WWW-Authenticate")
    proof = client.credentials(challenge, False, True)
    assert client.ask([("Authorization", proof)]).status == 200
    assert client.ask([("Authorization", proof)]).status == 401
    # The next nonce comes with the answer.
    answer = client.authenticate()
    fresh = re.search(r'nextnonce="([^"]+)"', answer.get("Authentication-Info"))[1]
    challenge = re.sub(r'nonce="[^"]+"', 'nonce="%s"' % fresh, challenge)
    assert client.ask([("Authorization", client.credentials(challenge, False, True))]).status == 200


def times(relay):
    client = Client(relay, "alice")
    answer = client.authenticate(expires=0)
    assert answer.status == 423 and int(answer.get("Min-Expires")) >= 1, answer.what
    answer = client.authenticate(expires=10**9)
    assert answer.status == 423 and int(answer.get("Max-Expires")) > 0, answer.what
    answer = client.authenticate(expires=1)
    assert answer.status == 200 and answer.get("Expires") == "1", answer.what
    bob = relay.client("bob")
    exchange(client, bob, b"in time")
    time.sleep(1.2)
    name = client.send(bob.path, b"too late")
    late = client.receive("481")
    assert late.tid == name
    stranger = relay.stranger("eve")
    stranger.send(client.path, b"too late")
    stranger.receive("481")


def messages(relay):
    alice, bob = relay.client("alice"), relay.client("bob")
    exchange(alice, bob, b"hello")
    exchange(bob, alice, b"hello\r\n-------")
    # Several in one write, in order.
    names = [alice.send(bob.path, b"%d" % i) for i in range(20)]
    assert [alice.receive("200").tid for _ in names] == names
    for i in range(20):
        frame = bob.receive("SEND")
        assert frame.body == b"%d" % i
        bob.answer(frame)
    # Without an answer, and with one only for what goes wrong.
    alice.send(bob.path, b"quiet", fields=[("Failure-Report", "no")])
    bob.answer(bob.receive("SEND"), "413 Stop")
    alice.send(bob.path, b"partly", fields=[("Failure-Report", "partial")])
    bob.answer(bob.receive("SEND"), "413 Stop")
    report = alice.receive("REPORT")
    assert report.get("Status").startswith("000 413") and report.get("Byte-Range") == "1-6/6"
    # No body at all.
    alice.connection.send(
        write(tid() + " SEND", [("To-Path", alice.use + " " + bob.path), ("From-Path", alice.own), ("Message-ID", "abcd")])
    )
    alice.receive("200")
    assert bob.receive("SEND").body is None


def strangers(relay):
    bob, eve = relay.client("bob"), relay.stranger("eve")
    exchange(eve, bob, b"from outside")
    # Back by the connection it came on.
    exchange(bob, eve, b"to outside")


def outside(relay):
    """A next hop that waits for connections."""
    alice = relay.client("alice")
    listener = socket.create_server(("127.0.0.1", 0))
    own = "msrp://127.0.0.1:%d/%s;tcp" % (listener.getsockname()[1], secrets.token_hex(8))
    name = alice.send(own, b"out")
    assert alice.receive("200").tid == name
    peer = relay.stranger("peer")
    peer.own, peer.connection = own, Connection.taken(listener.accept()[0])
    frame = peer.receive("SEND")
    assert frame.body == b"out" and frame.get("From-Path") == alice.path
    peer.answer(frame)
    peer.send(alice.path, b"back")
    back = alice.receive("SEND")
    assert back.body == b"back" and back.get("From-Path") == alice.use + " " + own
    alice.answer(back)
    peer.receive("200")
    # The same connection again.
    exchange(alice, peer, b"again")
    # It goes away: what it had not answered is reported.
    alice.send(own, b"lost")
    alice.receive("200")
    peer.receive("SEND")
    peer.connection.socket.close()
    report = alice.receive("REPORT")
    assert report.get("Status").startswith("000 408"), report.get("Status")


def dead(relay):
    alice = relay.client("alice")
    closed = socket.create_server(("127.0.0.1", 0))
    own = "msrp://127.0.0.1:%d/abcdefgh;tcp" % closed.getsockname()[1]
    closed.close()
    alice.send(own, b"nobody is there", "lost1")
    heard = [alice.connection.frame(), alice.connection.frame()]
    report = next(f for f in heard if f.what == "REPORT")
    assert report.get("Status").startswith("000 408") and report.get("Message-ID") == "lost1"
    assert report.get("To-Path") == alice.own and report.get("Byte-Range") == "1-15/15"
    alice.send(own, b"nobody hears of it", fields=[("Failure-Report", "no")])
    bob = relay.client("bob")
    exchange(alice, bob, b"still there")


def closed_to_others(relay):
    alice, bob, eve = relay.client("alice"), relay.client("bob"), relay.client("carol")
    # Somebody else's URI leads to its owner, whatever follows it.
    eve.use = alice.use
    eve.send(bob.path, b"for bob, by alice's URI")
    eve.receive("200")
    frame = alice.receive("SEND")
    assert frame.body == b"for bob, by alice's URI"
    alice.answer(frame)
    # One that was not granted leads nowhere.
    stranger = relay.stranger("eve")
    made_up = alice.use[: alice.use.rindex("/") + 1] + secrets.token_hex(16) + ";tcp"
    stranger.send(made_up + " " + bob.path, b"x")
    stranger.receive("481")
    # One of somebody else's ends the connection (RFC 4976 6.2).
    stranger.send("msrp://elsewhere.invalid:1/abcdefgh;tcp " + bob.path, b"x")
    assert stranger.connection.closed()
    # With the client goes its URI.
    use = bob.path
    bob.connection.socket.close()
    stranger = relay.stranger("eve")
    deadline = time.monotonic() + PATIENCE
    while True:
        stranger.send(use, b"x", fields=[("Failure-Report", "partial")])
        stranger.send(alice.path, b"y")
        first = stranger.connection.frame()
        if first.status == 481:
            stranger.receive("200")
            break
        assert first.status == 200 and time.monotonic() < deadline
    # What is no MSRP ends the connection, and so does what goes over its limits.
    for noise in (b"GET / HTTP/1.1\r\n", b"MSRP abcd SEND\r\nTo-Path: " + b"x" * 100_000):
        stranger = relay.stranger("eve")
        try:
            stranger.connection.send(noise)
        except ConnectionError:
            pass
        assert stranger.connection.closed()


def flood(relay):
    """AUTH after AUTH without a password: the connection ends, others do not notice."""
    alice, bob = relay.client("alice"), relay.client("bob")
    for _ in range(20):
        client = Client(relay, "eve")
        ended = 0
        try:
            for _ in range(1000):
                client.connection.send(write(tid() + " AUTH", [("To-Path", relay.uri), ("From-Path", client.own)]))
                ended += 1
        except (ConnectionError, ssl.SSLError):
            pass
        assert client.connection.closed()
    exchange(alice, bob, b"undisturbed")


def stalled(relay, seconds=3):
    """A reader that stops: nothing is lost, its sender waits, and nobody else does."""
    alice, bob, carol, dave = (relay.client(user) for user in ("alice", "bob", "carol", "dave"))
    size = 24 << 20
    alice.connection.socket.settimeout(4 * PATIENCE)
    text = os.urandom(1 << 20) * (size >> 20)
    done = threading.Event()

    def pour():
        alice.send(bob.path, text, "bulk", byte_range="1-*/%d" % size)
        done.set()

    threading.Thread(target=pour, daemon=True).start()
    until = time.monotonic() + seconds
    worst = 0
    while time.monotonic() < until:
        begun = time.monotonic()
        exchange(carol, dave, b"meanwhile %f" % begun)
        worst = max(worst, time.monotonic() - begun)
        time.sleep(0.02)
    assert not done.is_set(), "the sender is held"
    assert worst < 2, worst
    got = bytearray()
    while True:
        frame = bob.receive("SEND")
        assert frame.get("Message-ID") == "bulk"
        assert int(frame.get("Byte-Range").split("-")[0]) == len(got) + 1
        got += frame.body
        bob.answer(frame)
        if frame.flag == "$":
            break
    assert got == text, "every octet"
    alice.receive("200")
    print("   worst exchange meanwhile %.0f ms" % (worst * 1000))


def interrupted(relay):
    """A long chunk is ended for somebody else's short message, and gone on with."""
    alice, bob, carol = relay.client("alice"), relay.client("bob"), relay.client("carol")
    text = os.urandom(300_000)
    fields = [("To-Path", alice.use + " " + bob.path), ("From-Path", alice.own), ("Message-ID", "long")]
    fields += [("Byte-Range", "1-%d/%d" % (len(text), len(text)))]
    whole = write("longchunk SEND", fields, text)
    alice.connection.send(whole[:200_000])
    # Two senders have no order between them: the long one is there first when bob has some of it.
    bob.connection.more()
    carol.send(bob.path, b"short")
    carol.receive("200")
    parts, short = [], None
    while short is None:
        frame = bob.receive("SEND")
        bob.answer(frame)
        if frame.body == b"short":
            short = frame
        else:
            parts.append(frame)
    assert parts and parts[-1].flag == "+"
    alice.connection.send(whole[200_000:])
    while parts[-1].flag != "$":
        frame = bob.receive("SEND")
        bob.answer(frame)
        parts.append(frame)
    got = b""
    for part in parts:
        assert part.get("Byte-Range").split("-")[0] == str(len(got) + 1) and part.get("Message-ID") == "long"
        assert part.get("Byte-Range").endswith("/%d" % len(text))
        got += part.body
    assert got == text
    assert alice.receive("200").tid == "longchunk"
    # Given up in the middle: the receiver hears of it.
    alice.connection.send(whole[:100_000])
    frame = None
    alice.connection.socket.close()
    while frame is None or frame.flag != "#":
        frame = bob.receive("SEND")
        bob.answer(frame)


def silent(relay):
    """A next hop that takes everything and says nothing: 408 after 30 s (RFC 4976 6.4.1)."""
    alice, bob = relay.client("alice"), relay.client("bob")
    begun = time.monotonic()
    alice.connection.socket.settimeout(60)
    alice.send(bob.path, b"are you there?", "q1")
    alice.receive("200")
    report = alice.receive("REPORT")
    assert report.get("Status").startswith("000 408") and 29 < time.monotonic() - begun < 45


def bounds(relay):
    """An address that the relay may not connect to, as such and in the dress of IPv6."""
    alice = relay.client("alice")
    with socket.create_server(("127.0.0.2", 0)) as forbidden:
        port = forbidden.getsockname()[1]
        for host in ["127.0.0.2", "[::ffff:127.0.0.2]"]:
            alice.send("msrp://%s:%d/abcdefgh;tcp" % (host, port), b"let me in")
            heard = [alice.connection.frame(), alice.connection.frame()]
            report = next(f for f in heard if f.what == "REPORT")
            assert report.get("Status").startswith("000 408"), report
        forbidden.settimeout(0.5)
        try:
            forbidden.accept()
        except TimeoutError:
            return
        raise AssertionError("the relay was there")


def chain(relay, other):
    """alice at the one relay, bob at the other, and back."""
    alice, bob = relay.client("alice"), other.client("bob", with_uri=True)
    exchange(alice, bob, b"over two relays")
    exchange(bob, alice, b"and back")
    for i in range(50):
        exchange(alice, bob, b"again %d" % i)
        exchange(bob, alice, b"back %d" % i)


SCENARIOS = [passwords, times, messages, strangers, outside, dead, closed_to_others, flood, stalled, interrupted]


def main(arguments):
    host, port = arguments[0], int(arguments[1])
    rest = arguments[2:]
    tls = plain = other = None
    names = []
    while rest:
        word = rest.pop(0)
        if word == "--tls":
            tls = rest.pop(0)
        elif word == "--plain":
            plain = int(rest.pop(0))
        elif word in ("--through", "--through-tls"):
            other = Relay(rest.pop(0), int(rest.pop(0)), tls if word == "--through-tls" else None)
        else:
            names.append(word)
    relay = Relay(host, port, tls, plain)
    if other:
        chain(relay, other)
        print("ok chain", flush=True)
    for scenario in [*SCENARIOS, silent, bounds]:
        if scenario.__name__ in names or not names and not other and scenario in SCENARIOS:
            scenario(relay)
            print("ok", scenario.__name__, flush=True)


main(sys.argv[1:])
