"""A SIP terminal of another make: MSRP signalling in SDP, plain octets on the connection.

    terminal.py callee IDENTITY PASSWORD OWN PROXY
    terminal.py caller IDENTITY PASSWORD OWN PROXY PEER CALLS

The callee answers each offer with `a=setup:active` (RFC 4145 section 4, RFC 6135) and connects the moment its 200 is out. It
says how many milliseconds that took, and how many it took to hear from the other end, a line a call. The caller listens before
it offers, calls one after the other, and checks what comes over each connection.
"""

import hashlib
import ipaddress
import re
import socket
import sys
import threading
import time

LIMIT = 40


def say(*what):
    print(*what, flush=True)


class Message:
    def __init__(self, head, body):
        self.start, *lines = head.decode().split("\r\n")
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines if line]
        self.body = body.decode()

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name):
        return self.all(name)[0]

    def status(self):
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else None


def host(address):
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


class Terminal:
    def __init__(self, identity, password, own, proxy):
        self.identity, self.password, self.own = identity, password, own
        self.user, self.domain = re.match(r"sip:(.*)@(.*)", identity).groups()
        self.signalling = socket.create_connection((proxy, 5060), LIMIT, (own, 0))
        self.signalling.settimeout(None)
        self.port = self.signalling.getsockname()[1]
        self.unread = b""
        self.sequence = 0
        self.register()

    def contact(self):
        return f"<sip:{self.user}@{host(self.own)}:{self.port};transport=tcp>"

    def send(self, start, headers, body=""):
        lines = [start, *headers, f"Content-Length: {len(body)}", "", body]
        self.signalling.sendall("\r\n".join(lines).encode())

    def receive(self):
        while True:
            self.unread = self.unread.lstrip(b"\r\n")
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            if end:
                length = int(re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head).group(1))
                if len(rest) >= length:
                    self.unread = rest[length:]
                    return Message(head, rest[:length])
            octets = self.signalling.recv(65536)
            if not octets:
                sys.exit("the border is gone")
            self.unread += octets

    def common(self, method, to, call, more=()):
        self.sequence += 1
        return [
            f"Via: SIP/2.0/TCP {host(self.own)}:{self.port};branch=z9hG4bK{call}x{self.sequence};rport",
            "Max-Forwards: 70",
            f"From: <{self.identity}>;tag=t{call}",
            f"To: {to}",
            f"Call-ID: {call}",
            f"CSeq: {self.sequence} {method}",
            f"Contact: {self.contact()}",
            *more,
        ]

    def final(self):
        while True:
            message = self.receive()
            if message.status() and message.status() >= 200:
                return message

    def register(self):
        uri, more = f"sip:{self.domain}", ["Expires: 3600"]
        for _ in range(2):
            self.send(f"REGISTER {uri} SIP/2.0", self.common("REGISTER", f"<{self.identity}>", f"r{self.port}", more))
            answer = self.final()
            if answer.status() == 200:
                return say("registered")
            challenge = dict(re.findall(r'(\w+)="?([^",]*)"?', answer.one("www-authenticate")))
            more = ["Expires: 3600", "Authorization: " + self.credentials(challenge, "REGISTER", uri)]
        sys.exit(answer.start)

    def credentials(self, challenge, method, uri):
        algorithm = challenge.get("algorithm", "MD5")
        digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
        hashed = lambda *parts: digest(":".join(parts).encode()).hexdigest()
        realm, nonce = challenge["realm"], challenge["nonce"]
        one, two = hashed(self.user, realm, self.password), hashed(method, uri)
        response = hashed(one, nonce, "00000001", "cafe", "auth", two)
        return (
            f'Digest username="{self.user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm={algorithm}, '
            f'qop=auth, nc=00000001, cnonce="cafe", response="{response}"'
        )

    def sdp(self, port, setup):
        version = ipaddress.ip_address(self.own).version
        return "\r\n".join(
            [
                "v=0",
                f"o=- 1 1 IN IP{version} {self.own}",
                "s=-",
                f"c=IN IP{version} {self.own}",
                "t=0 0",
                f"m=message {port} TCP/TLS/MSRP *",
                f"a=setup:{setup}",
                "a=connection:new",
                "a=accept-types:text/plain",
                f"a=path:msrps://{host(self.own)}:{port}/x;tcp",
                "a=msrp-cema",
                "a=key-mgmt:mikey AQQFgOFFERSEALEDlineASitCAME0123+/==",
                "",
            ]
        )


def place(sdp):
    address = re.search(r"(?m)^c=IN IP[46] (\S+)", sdp).group(1)
    return address, int(re.search(r"(?m)^m=message (\d+)", sdp).group(1))


def callee(terminal):
    def talk(where, call):
        began = time.monotonic()
        try:
            connection = socket.create_connection(where, LIMIT, (terminal.own, 0))
            took = (time.monotonic() - began) * 1000
            connection.settimeout(LIMIT)
            connection.sendall(f"hello from {call}\n".encode())
            answer = connection.makefile().readline()
            whole = (time.monotonic() - began) * 1000
        except OSError as error:
            return say("failed", call, error)
        say("connected", f"{took:.1f} {whole:.1f}", answer.strip())
        try:
            connection.recv(1)
        except ConnectionResetError:
            pass  # The call is over before the connection is.

    while True:
        message = terminal.receive()
        if message.status():
            continue
        method = message.start.split()[0]
        if method == "ACK":
            continue
        back = [f"{name}: {value}" for name in ("via", "record-route", "from", "call-id", "cseq") for value in message.all(name)]
        to = message.one("to")
        back += [f"To: {to}" + ("" if "tag=" in to else ";tag=callee"), f"Contact: {terminal.contact()}"]
        if method == "INVITE":
            where = place(message.body)
            # Nobody listens there: it is this side that connects.
            terminal.send("SIP/2.0 200 OK", back + ["Content-Type: application/sdp"], terminal.sdp(9, "active"))
            threading.Thread(target=talk, args=(where, message.one("call-id")), daemon=True).start()
        else:
            terminal.send("SIP/2.0 200 OK", back)


def caller(terminal, peer, calls):
    family = socket.AF_INET6 if ":" in terminal.own else socket.AF_INET
    for number in range(calls):
        call = f"c{terminal.port}n{number}"
        listener = socket.create_server((terminal.own, 0), family=family)
        listener.settimeout(LIMIT)
        offer = terminal.sdp(listener.getsockname()[1], "actpass")
        headers = terminal.common("INVITE", f"<{peer}>", call, ["Content-Type: application/sdp"])
        terminal.send(f"INVITE {peer} SIP/2.0", headers, offer)
        answer = terminal.final()
        if answer.status() != 200:
            sys.exit(f"call {number}: {answer.start}")
        target = re.search(r"<(.*)>", answer.one("contact")).group(1)
        routes = [f"Route: {route}" for value in reversed(answer.all("record-route")) for route in reversed(re.findall(r"<[^>]*>[^,]*", value))]
        to, sequence = answer.one("to"), answer.one("cseq").split()[0]
        in_dialog = terminal.common("ACK", to, call, routes)
        in_dialog = [line if not line.startswith("CSeq") else f"CSeq: {sequence} ACK" for line in in_dialog]
        terminal.send(f"ACK {target} SIP/2.0", in_dialog)
        connection, _ = listener.accept()
        connection.settimeout(LIMIT)
        heard = connection.makefile().readline().strip()
        if heard.startswith("hello from "):
            connection.sendall(f"welcome to {number}\n".encode())
        say("heard", number, heard)
        terminal.send(f"BYE {target} SIP/2.0", terminal.common("BYE", to, call, routes))
        terminal.final()
        connection.close()
        listener.close()
    say("done", calls)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "callee":
        callee(Terminal(*rest))
    else:
        *own, peer, calls = rest
        caller(Terminal(*own), peer, int(calls))
