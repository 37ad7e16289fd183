"""Subscribers who want nothing but to talk, sharing no code with Carnet: SIP with digest, and octets over TCP
that begin like TLS and come back as they were sent.

    people.py BORDER ALICE-ADDRESS BOB-ADDRESS CALLS AT-ONCE [PAUSE [INNER-ADDRESS]]

alice calls bob that often, so many calls at once. In each she connects to the address of the answer, says
something, waits for the echo and as many seconds more, a few times, and hangs up. One JSON line at the end says
how it went.
"""

import hashlib
import json
import os
import queue
import re
import socket
import sys
import threading
import time

border, alice_at, bob_at, calls, at_once = sys.argv[1:6]
pause = float((sys.argv[6:] or ["0.05"])[0])
alice_says = (sys.argv[7:] or [alice_at])[0]
PATIENCE = 45
token = lambda: os.urandom(8).hex()
HELLO = bytes([22, 3, 1, 2, 0, 1, 0, 1, 0xfc])


def field(head, name):
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def fields(head, name):
    return [line.partition(":")[2].strip() for line in head.split("\r\n")[1:]
            if line.partition(":")[0].strip().lower() == name]


class Sip:
    """One user's connection to the border (RFC 3261 §18)."""

    def __init__(self, user, own, says):
        self.user, self.own, self.uri = user, says, f"sip:{user}@a.example"
        self.socket = socket.create_connection((border, 5060), source_address=(own, 0))
        self.port = self.socket.getsockname()[1]
        self.contact = f"<sip:{user}@{says}:{self.port};transport=tcp>"
        self.waiting, self.lock, self.on_request = {}, threading.Lock(), None
        threading.Thread(target=self.read, daemon=True).start()
        self.register()

    def send(self, text, body=""):
        if body:
            text += "Content-Type: application/sdp\r\n"
        text += f"Content-Length: {len(body)}\r\n\r\n{body}"
        with self.lock:
            self.socket.sendall(text.encode())

    def via(self):
        return f"Via: SIP/2.0/TCP {self.own}:{self.port};branch=z9hG4bK{token()}\r\nMax-Forwards: 70\r\n"

    def read(self):
        data = b""
        while True:
            while b"\r\n\r\n" in data:
                head, rest = data.split(b"\r\n\r\n", 1)
                text = head.decode().lstrip("\r\n")
                length = int(field(text, "content-length") or field(text, "l") or 0) if text else 0
                if len(rest) < length:
                    break
                data, body = rest[length:], rest[:length].decode()
                if text.startswith("SIP/2.0"):
                    waiting = self.waiting.get(field(text, "call-id"))
                    if waiting:
                        waiting.put((text, body))
                elif text:
                    self.on_request(text, body)
            more = self.socket.recv(65536)
            if not more:
                return
            data += more

    def register(self):
        call, tag, answers = token(), token(), queue.Queue()
        self.waiting[call] = answers
        credentials = ""
        for number in (1, 2):
            self.send(f"REGISTER sip:a.example SIP/2.0\r\n{self.via()}From: <{self.uri}>;tag={tag}\r\n"
                      f"To: <{self.uri}>\r\nCall-ID: {call}\r\nCSeq: {number} REGISTER\r\n"
                      f"Contact: {self.contact}\r\nExpires: 600\r\n{credentials}")
            head, _ = answers.get(timeout=PATIENCE)
            if head.split()[1] == "200":
                return
            credentials = self.credentials(field(head, "www-authenticate"))
        sys.exit(f"{self.user} cannot register: {head}")

    def credentials(self, challenge):
        """RFC 7616."""
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
        algorithm = given.get("algorithm", "MD5")
        sha = hashlib.sha256 if algorithm.upper() == "SHA-256" else hashlib.md5
        digest = lambda text: sha(text.encode()).hexdigest()
        cnonce, uri = token(), "sip:a.example"
        secret = digest(f"{self.user}:{given['realm']}:{self.user}'s password")
        response = digest(f"{secret}:{given['nonce']}:00000001:{cnonce}:auth:{digest(f'REGISTER:{uri}')}")
        opaque = f', opaque="{given["opaque"]}"' if "opaque" in given else ""
        return (f'Authorization: Digest username="{self.user}", realm="{given["realm"]}", '
                f'nonce="{given["nonce"]}", uri="{uri}", response="{response}", algorithm={algorithm}, '
                f'cnonce="{cnonce}", nc=00000001, qop=auth{opaque}\r\n')


def sdp(own, port, setup):
    return (f"v=0\r\no=- 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\n"
            f"m=message {port} TCP/TLS/MSRP *\r\na=accept-types:text/plain\r\na=msrp-cema\r\n"
            f"a=path:msrps://{own}:{port}/{token()};tcp\r\na=setup:{setup}\r\n"
            f"a=fingerprint:SHA-256 {':'.join(['5A'] * 32)}\r\n")


def media_of(body):
    address = re.search(r"^c=IN IP4 (\S+)", body, re.M).group(1)
    return address, int(re.search(r"^m=message (\d+)", body, re.M).group(1))


# -- bob ------------------------------------------------------------------------------------------

def echo(connection):
    with connection:
        while octets := connection.recv(65536):
            connection.sendall(octets)


def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=quietly, args=(echo, connection), daemon=True).start()


def quietly(act, *arguments):
    try:
        act(*arguments)
    except OSError:
        pass


listener = socket.create_server((bob_at, 0), backlog=512)
threading.Thread(target=serve, args=(listener,), daemon=True).start()
bob = Sip.__new__(Sip)


def answer(head, body):
    method = head.split()[0]
    if method == "ACK":
        return
    keep = [line for line in head.split("\r\n")[1:]
            if line.lower().split(":")[0] in ("via", "from", "to", "call-id", "cseq", "record-route")]
    keep = [line + f";tag={token()}" if line.lower().startswith("to:") and ";tag=" not in line else line
            for line in keep]
    text = "SIP/2.0 200 OK\r\n" + "\r\n".join(keep) + "\r\n"
    if method == "INVITE":
        text += f"Contact: {bob.contact}\r\n"
        bob.send(text, sdp(bob_at, listener.getsockname()[1], "passive"))
    else:
        bob.send(text)


bob.on_request = answer
bob.__init__("bob", bob_at, bob_at)
bob.on_request = answer
alice = Sip("alice", alice_at, alice_says)
alice.on_request = lambda head, body: alice.send(
    "SIP/2.0 200 OK\r\n" + "\r\n".join(line for line in head.split("\r\n")[1:]
                                        if line.lower().split(":")[0] in ("via", "from", "to", "call-id", "cseq"))
    + "\r\n")


# -- alice ----------------------------------------------------------------------------------------

def exactly(connection, length):
    octets = b""
    while len(octets) < length:
        more = connection.recv(length - len(octets))
        if not more:
            raise OSError(f"closed after {len(octets)} of {length} octets")
        octets += more
    return octets


def call():
    call_id, tag, answers = token(), token(), queue.Queue()
    alice.waiting[call_id] = answers
    base = lambda to, number, method: (f"From: <{alice.uri}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n"
                                       f"CSeq: {number} {method}\r\nContact: {alice.contact}\r\n")
    alice.send(f"INVITE {bob.uri} SIP/2.0\r\n{alice.via()}" + base(f"<{bob.uri}>", 1, "INVITE"),
               sdp(alice_says, 9, "active"))
    while True:
        head, body = answers.get(timeout=PATIENCE)
        status = int(head.split()[1])
        if status >= 200 and "INVITE" in field(head, "cseq"):
            break
    to = field(head, "to")
    if status >= 300:
        # Of a failure the border needs no ACK of its own branch to forget it.
        raise OSError(f"{head.splitlines()[0]} {field(head, 'warning')}")
    target = re.search(r"<([^>]*)>", field(head, "contact")).group(1)
    route = "".join(f"Route: {r}\r\n" for r in reversed(fields(head, "record-route")))
    alice.send(f"ACK {target} SIP/2.0\r\n{alice.via()}{route}" + base(to, 1, "ACK"))
    try:
        with socket.create_connection(media_of(body), timeout=PATIENCE, source_address=(alice_at, 0)) as talk:
            for size in (4096, 100, 100, 100):
                said = HELLO + os.urandom(size)
                talk.sendall(said)
                if exactly(talk, len(said)) != said:
                    raise OSError("the echo is another")
                time.sleep(pause)
    finally:
        alice.send(f"BYE {target} SIP/2.0\r\n{alice.via()}{route}" + base(to, 2, "BYE"))
        while "BYE" not in field(answers.get(timeout=PATIENCE)[0], "cseq"):
            pass
        del alice.waiting[call_id]


left, done, failed, slowest = iter(range(int(calls))), [], [], [0.0]
guard = threading.Lock()


def talk():
    while True:
        with guard:
            if next(left, None) is None:
                return
        begun = time.monotonic()
        try:
            call()
            took = time.monotonic() - begun
            with guard:
                done.append(took)
                slowest[0] = max(slowest[0], took)
        except (OSError, queue.Empty) as error:
            with guard:
                failed.append(repr(error))


begun = time.monotonic()
threads = [threading.Thread(target=talk) for _ in range(int(at_once))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
took = time.monotonic() - begun
print(json.dumps({"done": len(done), "failed": len(failed), "why": sorted(set(failed))[:5],
                  "seconds": round(took, 2), "rate": round(len(done) / took, 1),
                  "slowest": round(slowest[0], 2)}), flush=True)
sys.exit(bool(failed))
