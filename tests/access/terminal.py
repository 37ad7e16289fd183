"""A SIP user agent and the media behind it, written from the RFCs and sharing nothing with Carnet: TLS is
OpenSSL's own programs (RFC 8122), MSRP in clear is the framing of RFC 4975 and nothing more.

Commands are JSON objects, one a line on standard input; what happens is told the same way on standard output.

    terminal.py USER DOMAIN PASSWORD LOCAL-ADDRESS PROXY-ADDRESS
"""
import base64
import hashlib
import json
import queue
import random
import re
import socket
import subprocess
import sys
import threading
import time

USER, DOMAIN, PASSWORD, LOCAL, PROXY = sys.argv[1:6]
PORT = 5060
telling = threading.Lock()


def tell(event, **more):
    with telling:
        print(json.dumps({"event": event, **more}), flush=True)


def token():
    return "%016x" % random.getrandbits(64)


def header(message, *names):
    """All values of a header, in any of its spellings."""
    head = message.split("\r\n\r\n")[0]
    wanted = [name.lower() for name in names]
    lines = (line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
    return [value.strip() for name, value in lines if name.strip().lower() in wanted]


def body(message):
    return message.split("\r\n\r\n", 1)[1] if "\r\n\r\n" in message else ""


class Agent:
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOCAL, PORT))
        self.waiting = {}
        self.answered = {}
        self.dialog = None
        self.invited = None
        self.believe(LOCAL)

    def believe(self, address):
        """The address it takes for its own; behind a NAT that is not the one others see."""
        self.address = address
        self.contact = "<sip:%s@%s:%d>" % (USER, address, PORT)

    def send(self, text):
        self.socket.sendto(text.encode(), (PROXY, PORT))

    def request(self, method, uri, headers, text="", branch=None):
        branch = branch or "z9hG4bK" + token()
        lines = ["%s %s SIP/2.0" % (method, uri), "Via: SIP/2.0/UDP %s:%d;rport;branch=%s" % (self.address, PORT, branch)]
        lines += ["Max-Forwards: 70", *headers, "Content-Length: %d" % len(text), "", text]
        return branch, "\r\n".join(lines)

    def transact(self, method, uri, headers, text=""):
        """The final answer to a request; repeats it as RFC 3261 §17.1 has it."""
        branch, octets = self.request(method, uri, headers, text)
        queue, arrived = [], threading.Condition()
        self.waiting[(branch, method)] = (queue, arrived)
        wait, provisional, end = 0.5, False, time.time() + 60
        self.send(octets)
        with arrived:
            while time.time() < end:
                if not queue:
                    arrived.wait(wait)
                if not queue:
                    if not provisional or method != "INVITE":
                        self.send(octets)
                        wait = min(wait * 2, 4)
                    continue
                answer = queue.pop(0)
                status = int(answer.split()[1])
                if status >= 200:
                    return branch, status, answer
                provisional = True
                tell("provisional", status=status)
        return branch, 408, "SIP/2.0 408 Nobody answered\r\n\r\n"

    def register(self, security, expires=600):
        """RFC 3261 §10, RFC 7616, RFC 3329 with what TS 24.229 makes of it for media."""
        call, tag, authorization, number = token(), token(), [], 1
        uri = "sip:" + DOMAIN
        seen = []
        while True:
            headers = ["From: <sip:%s@%s>;tag=%s" % (USER, DOMAIN, tag), "To: <sip:%s@%s>" % (USER, DOMAIN)]
            headers += ["Call-ID: " + call, "CSeq: %d REGISTER" % number, "Contact: " + self.contact]
            headers += ["Expires: %d" % expires, *authorization]
            headers += ["Security-Client: " + one for one in security]
            if seen:
                headers += ["Security-Verify: " + one for one in seen]
            if security:
                headers += ["Require: mediasec", "Proxy-Require: mediasec"]
            _, status, answer = self.transact("REGISTER", uri, headers)
            seen = header(answer, "Security-Server")
            tell("register", status=status, security_server=seen)
            if status != 401 or number > 2:
                return
            authorization = ["Authorization: " + self.digest(header(answer, "WWW-Authenticate")[0], "REGISTER", uri)]
            number += 1

    def digest(self, challenge, method, uri):
        values = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.split(" ", 1)[1]))
        algorithm = values.get("algorithm", "MD5")
        make = hashlib.sha256 if algorithm.upper().startswith("SHA-256") else hashlib.md5
        h = lambda text: make(text.encode()).hexdigest()
        one = h("%s:%s:%s" % (USER, values["realm"], PASSWORD))
        two = h("%s:%s" % (method, uri))
        nonce, client = values["nonce"], token()
        response = h(":".join([one, nonce, "00000001", client, "auth", two]))
        parts = 'Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s'
        parts += ', qop=auth, nc=00000001, cnonce="%s"'
        parts %= (USER, values["realm"], nonce, uri, response, algorithm, client)
        return parts + (', opaque="%s"' % values["opaque"] if "opaque" in values else "")

    def call(self, uri, sdp):
        call, tag = token(), token()
        own = "<sip:%s@%s>;tag=%s" % (USER, DOMAIN, tag)
        self.offer(uri, [], call, own, "<%s>" % uri, 1, sdp)

    def offer(self, uri, routes, call, own, peer, number, sdp, authorization=()):
        headers = ["Route: " + route for route in routes]
        headers += ["From: " + own, "To: " + peer, "Call-ID: " + call, "CSeq: %d INVITE" % number]
        headers += ["Contact: " + self.contact, "Content-Type: application/sdp", "Supported: timer"]
        headers += authorization
        branch, status, answer = self.transact("INVITE", uri, headers, sdp)
        asked, peer = peer, header(answer, "To", "t")[0] if header(answer, "To", "t") else peer
        base = ["From: " + own, "To: " + peer, "Call-ID: " + call, "CSeq: %d ACK" % number]
        if status >= 300:
            self.send(self.request("ACK", uri, base, branch=branch)[1])
            if status == 407 and not authorization:
                # RFC 3261 §22.3: once more, with the password.
                credentials = self.digest(header(answer, "Proxy-Authenticate")[0], "INVITE", uri)
                again = ["Proxy-Authorization: " + credentials]
                return self.offer(uri, routes, call, own, asked, number + 1, sdp, again)
            tell("refused", status=status, warning=header(answer, "Warning"), sdp=body(answer))
            return
        target = re.search(r"<([^>]+)>", header(answer, "Contact", "m")[0]).group(1)
        # RFC 3261 §12.2: the route set is that of the first answer.
        routes = routes or list(reversed(header(answer, "Record-Route")))
        self.dialog = {"call": call, "own": own, "peer": peer, "target": target, "routes": routes, "number": number}
        self.send(self.request("ACK", target, ["Route: " + route for route in routes] + base)[1])
        tell("answered", status=status, sdp=body(answer))

    def reoffer(self, sdp):
        d = self.dialog
        d["number"] += 1
        self.offer(d["target"], d["routes"], d["call"], d["own"], d["peer"], d["number"], sdp)

    def bye(self):
        d = self.dialog
        d["number"] += 1
        headers = ["Route: " + route for route in d["routes"]]
        headers += ["From: " + d["own"], "To: " + d["peer"], "Call-ID: " + d["call"], "CSeq: %d BYE" % d["number"]]
        _, status, _ = self.transact("BYE", d["target"], headers)
        tell("bye", status=status)

    def answer(self, status, sdp="", reason="OK"):
        message = self.invited
        self.respond(message, status, reason, sdp)
        if status < 300:
            own = header(message, "To", "t")[0] + ("" if self.again else ";tag=" + self.tag)
            contact = re.search(r"<([^>]+)>", header(message, "Contact", "m")[0]).group(1)
            number = self.dialog["number"] if self.again else 1
            self.dialog = {
                "call": header(message, "Call-ID", "i")[0],
                "own": own,
                "peer": header(message, "From", "f")[0],
                "target": contact,
                "routes": self.dialog["routes"] if self.again else header(message, "Record-Route"),
                "number": number,
            }

    def respond(self, message, status, reason, sdp=""):
        lines = ["SIP/2.0 %d %s" % (status, reason)]
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"]:
            for value in header(message, name, {"Via": "v", "From": "f", "To": "t", "Call-ID": "i"}.get(name, name)):
                if name == "To" and "tag=" not in value and status > 100:
                    value += ";tag=" + self.tag
                lines.append("%s: %s" % (name, value))
        if status > 100:
            lines.append("Contact: " + self.contact)
        if sdp:
            lines.append("Content-Type: application/sdp")
        text = "\r\n".join(lines + ["Content-Length: %d" % len(sdp), "", sdp])
        self.answered[self.key(message)] = text
        self.send(text)

    def key(self, message):
        via = header(message, "Via", "v")[0]
        return re.search(r"branch=([^;,\s]+)", via).group(1), header(message, "CSeq")[0]

    def listen(self):
        while True:
            octets, _ = self.socket.recvfrom(65535)
            message = octets.decode("utf-8", "replace")
            if not message.strip():
                continue
            if message.startswith("SIP/2.0"):
                branch = re.search(r"branch=([^;,\s]+)", header(message, "Via", "v")[0]).group(1)
                waiting = self.waiting.get((branch, header(message, "CSeq")[0].split()[1]))
                if waiting:
                    with waiting[1]:
                        waiting[0].append(message)
                        waiting[1].notify()
                continue
            method = message.split()[0]
            if method == "ACK":
                tell("confirmed")
            elif self.key(message) in self.answered:
                self.send(self.answered[self.key(message)])
            elif method == "INVITE":
                self.again = "tag=" in header(message, "To", "t")[0]
                self.tag = token()
                self.invited = message
                self.respond(message, 100, "Trying")
                tell("offered", sdp=body(message))
            elif method == "CANCEL":
                self.respond(message, 200, "OK")
                self.respond(self.invited, 487, "Cancelled")
                tell("cancelled")
            else:
                self.respond(message, 200, "OK")
                if method == "BYE":
                    tell("ended", reason=header(message, "Reason"), warning=header(message, "Warning"))


class Clear:
    """A connection without TLS; with `msrp` the frames of RFC 4975 are read and answered."""

    def __init__(self, connection, msrp):
        self.connection, self.path, self.peer = connection, msrp.get("own"), msrp.get("peer")
        self.messages, self.outstanding, self.sent = {}, set(), threading.Condition()
        # One thread writes: answers come between frames, and whoever reads never waits for whoever does not.
        self.out = queue.SimpleQueue()
        threading.Thread(target=self.write, daemon=True).start()
        tell("connected", peer="%s:%d" % connection.getpeername()[:2])
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        kept = b""
        try:
            while True:
                octets = self.connection.recv(65536)
                if not octets:
                    return tell("closed")
                if self.path is None:
                    tell("data", text=octets.decode("latin-1"))
                    continue
                kept = self.frames(kept + octets)
        except OSError as error:
            tell("closed", error=str(error))

    def write(self):
        try:
            while True:
                self.connection.sendall(self.out.get())
        except OSError:
            pass  # The reader tells of it.

    def frames(self, octets):
        while True:
            start = re.match(rb"MSRP ([^ \r\n]+) ([^\r\n]*)\r\n", octets)
            if not start:
                if octets[:64] and b"\r\n" in octets:
                    tell("malformed", text=octets[:80].decode("latin-1"))
                return octets
            transaction = start.group(1)
            end = re.search(rb"(?:^|\r\n)-------" + re.escape(transaction) + rb"([$+#])\r\n", octets)
            if not end:
                return octets
            self.frame(octets[: end.start()], transaction.decode(), start.group(2).decode(), end.group(1).decode())
            octets = octets[end.end() :]

    def frame(self, frame, transaction, first, flag):
        head, _, text = frame.partition(b"\r\n\r\n")
        values = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
        if first[:3].isdigit():
            with self.sent:
                self.outstanding.discard(transaction)
                self.sent.notify()
            if first[:3] != "200":
                tell("msrp-refused", status=first)
            return
        # RFC 4975 §7.3: only what is for us, from whom we have it with.
        good = values["To-Path"] == self.path and values["From-Path"].split()[-1] == self.peer
        if not good:
            tell("misaddressed", to=values["To-Path"], sender=values["From-Path"], own=self.path, peer=self.peer)
        answer = "MSRP %s %s\r\nTo-Path: %s\r\nFrom-Path: %s\r\n-------%s$\r\n"
        status = "200 OK" if good else "481 No such session"
        near = values["From-Path"].split()[0]
        self.out.put((answer % (transaction, status, near, self.path, transaction)).encode())
        if good and first == "SEND" and "Message-ID" in values and text:
            whole = self.messages.setdefault(values["Message-ID"], bytearray())
            at = int(values.get("Byte-Range", "1-").split("-")[0]) - 1
            whole[at : at + len(text)] = text
            if flag == "$":
                digest = hashlib.sha256(whole).hexdigest()
                tell("message", size=len(whole), sha256=digest, sender=values["From-Path"])

    def send(self, text):
        self.out.put(text.encode("latin-1"))

    def message(self, size, chunk):
        """One message in chunks, as many on their way as TCP takes."""
        content = random.Random(size).randbytes(size)
        number, at = token(), 0
        while True:
            part = content[at : at + chunk]
            last = at + len(part) >= size
            transaction = token()
            with self.sent:
                self.outstanding.add(transaction)
            head = "MSRP %s SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: %s\r\nByte-Range: %d-%d/%d\r\n"
            head %= (transaction, self.peer, self.path, number, at + 1, at + len(part), size)
            if part:
                head += "Content-Type: application/octet-stream\r\n\r\n"
            tail = ("\r\n" if part else "") + "-------%s%s\r\n" % (transaction, "$" if last else "+")
            self.out.put(head.encode() + part + tail.encode())
            at += len(part)
            if last:
                break
        with self.sent:
            done = self.sent.wait_for(lambda: not self.outstanding, 60)
        tell("sent", size=size, sha256=hashlib.sha256(content).hexdigest(), answered=done)

    def close(self):
        self.connection.shutdown(socket.SHUT_RDWR)


class Sealed:
    """The same through `openssl s_client` or `openssl s_server`."""

    def __init__(self, arguments):
        pipe = subprocess.PIPE
        self.program = subprocess.Popen(["openssl", *arguments], stdin=pipe, stdout=pipe, stderr=pipe)
        for stream in [self.program.stdout, self.program.stderr]:
            threading.Thread(target=self.read, args=(stream,), daemon=True).start()
        threading.Thread(target=self.wait, daemon=True).start()

    def read(self, stream):
        certificate = None
        for line in iter(stream.readline, b""):
            line = line.decode("latin-1").rstrip("\r\n")
            if "BEGIN CERTIFICATE" in line:
                certificate = ""
            elif "END CERTIFICATE" in line:
                digest = hashlib.sha256(base64.b64decode(certificate)).hexdigest().upper()
                pairs = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
                tell("certificate", fingerprint=pairs)
                certificate = None
            elif certificate is not None:
                certificate += line
            elif line:
                tell("openssl", line=line)

    def wait(self):
        tell("openssl-ended", code=self.program.wait())

    def send(self, text):
        self.program.stdin.write(text.encode("latin-1"))
        self.program.stdin.flush()

    def close(self):
        self.program.stdin.close()
        self.program.terminate()


agent = Agent()
media, opened = {}, threading.Condition()


def take(connection):
    with opened:
        media["it"] = connection
        opened.notify_all()


def it():
    """The connection; waits for it."""
    with opened:
        opened.wait_for(lambda: "it" in media, 60)
    return media["it"]


def connect(order):
    host, port = order["to"].rsplit(":", 1)
    for _ in range(100):
        try:
            made = socket.create_connection((host, int(port)), 10, (LOCAL, 0))
            made.settimeout(None)
            take(Clear(made, order))
            return
        except OSError as error:
            tell("unconnected", error=str(error))
            time.sleep(0.3)


def accept(listener, order):
    made, _ = listener.accept()
    take(Clear(made, order))


def listen(order):
    listener = socket.create_server((LOCAL, order["port"]))
    tell("listening")
    threading.Thread(target=accept, args=(listener, order), daemon=True).start()


def own(order):
    return [] if order.get("cert") is None else ["-cert", order["cert"] + ".pem", "-key", order["cert"] + ".key"]


def do(order):
    what = order["do"]
    if what == "register":
        agent.register(order.get("security", []))
    elif what == "believe":
        agent.believe(order["address"])
    elif what == "call":
        agent.call(order["uri"], order["sdp"])
    elif what == "reoffer":
        agent.reoffer(order["sdp"])
    elif what == "answer":
        agent.answer(order.get("status", 200), order.get("sdp", ""), order.get("reason", "OK"))
    elif what == "bye":
        agent.bye()
    elif what == "connect":
        connect(order)
    elif what == "listen":
        listen(order)
    elif what == "tls-connect":
        take(Sealed(["s_client", "-connect", order["to"], "-ign_eof", *own(order)]))
    elif what == "tls-listen":
        accept_at = "%s:%d" % (LOCAL, order["port"])
        take(Sealed(["s_server", "-accept", accept_at, "-Verify", "1", "-naccept", "1", *own(order)]))
    elif what == "send":
        it().send(order["text"])
    elif what == "message":
        it().message(order["size"], order.get("chunk", 2048))
    elif what == "close":
        it().close()


def attempt(order):
    try:
        do(order)
    except Exception as error:
        tell("failed", order=order["do"], error=repr(error))


threading.Thread(target=agent.listen, daemon=True).start()
tell("ready")
for line in sys.stdin:
    if json.loads(line)["do"] == "believe":
        attempt(json.loads(line))
        continue
    threading.Thread(target=attempt, args=(json.loads(line),), daemon=True).start()
