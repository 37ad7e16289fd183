"""A member that shares no code with Carnet: SIP, MSRP and BFCP written down from the RFCs, in clear.

    stranger.py MRFC-ADDRESS OWN-ADDRESS FROM-URI ROOM-URI

Joins, and prints one JSON object a line for what comes. On standard input, a line each:

    say TEXT             to the room              to URI TEXT      to one member
    nick NAME            takes a name             request FLOOR    asks for a floor
    release              gives it back            stop             reads no more MSRP
    go                   reads again              bye              leaves
"""

import json
import os
import select
import socket
import struct
import sys


def out(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


mrfc, own, me, room = sys.argv[1:5]
token = lambda: os.urandom(6).hex()
user = me.split(":")[1].split("@")[0]


# -- SIP (RFC 3261) -----------------------------------------------------------------------------

class Sip:
    def __init__(self):
        self.socket = socket.create_connection((mrfc, 5060), source_address=(own, 0))
        self.port = self.socket.getsockname()[1]
        self.buffer = b""
        self.call, self.tag = token(), token()
        self.to, self.target, self.number = f"<{room}>", room, 0

    def send(self, method, body="", number=None, more=""):
        if number is None:
            self.number += 1
            number = self.number
        text = (f"{method} {self.target} SIP/2.0\r\nVia: SIP/2.0/TCP {own}:{self.port};branch=z9hG4bK{token()}\r\n"
                f"Max-Forwards: 70\r\nFrom: <{me}>;tag={self.tag}\r\nTo: {self.to}\r\nCall-ID: {self.call}\r\n"
                f"CSeq: {number} {method}\r\nContact: <sip:{user}@{own}:{self.port};transport=tcp>\r\n{more}")
        if body:
            text += "Content-Type: application/sdp\r\n"
        self.socket.sendall((text + f"Content-Length: {len(body)}\r\n\r\n{body}").encode())

    def answer(self, request, status):
        keep = [line for line in request[0].split("\r\n")[1:]
                if line.lower().split(":")[0] in ("via", "from", "to", "call-id", "cseq")]
        self.socket.sendall((f"SIP/2.0 {status}\r\n" + "\r\n".join(keep) + "\r\nContent-Length: 0\r\n\r\n").encode())

    def messages(self):
        data = self.socket.recv(65536)
        if not data:
            out("sip-closed")
            sys.exit(3)
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            if not head.strip():
                self.buffer = rest
                continue
            text = head.decode().lstrip("\r\n")
            length = int(field(text, "content-length") or 0)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            yield text, rest[:length].decode()


def field(head, name):
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


session = token()
offer = (f"v=0\r\no=- 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\n"
         f"m=message 9 TCP/MSRP *\r\na=accept-types:message/cpim text/plain\r\na=accept-wrapped-types:*\r\n"
         f"a=path:msrp://{own}:9/{session};tcp\r\na=setup:active\r\n"
         "m=application 9 TCP/BFCP *\r\na=setup:active\r\na=connection:new\r\na=floorctrl:c-only\r\n")
sip = Sip()
sip.send("INVITE", offer)
answer = None
while answer is None:
    for head, body in sip.messages():
        if not head.startswith("SIP/2.0"):
            continue
        status = int(head.split()[1])
        if status < 200 or "INVITE" not in field(head, "cseq"):
            continue
        sip.to = field(head, "to")
        if status >= 300:
            sip.send("ACK", number=sip.number)
            out("refused", status=status, warning=field(head, "warning"))
            sys.exit(1)
        contact = field(head, "contact")
        sip.target = contact[contact.index("<") + 1:contact.index(">")]
        answer = body
        sip.send("ACK", number=sip.number)
        out("answered", isfocus=";isfocus" in contact.lower(), contact=contact)

lines, sections = [], []
for line in answer.split("\r\n"):
    if line.startswith("m="):
        sections.append([])
    (sections[-1] if sections else lines).append(line)


def attribute(section, name):
    for line in section:
        if line == f"a={name}" or line.startswith(f"a={name}:"):
            return line.partition(":")[2]
    return None


def address(section):
    for line in section + lines:
        if line.startswith("c="):
            return line.split()[2]


# -- MSRP (RFC 4975) ----------------------------------------------------------------------------

message = sections[0]
path = attribute(message, "path")
host, port = path.split("//")[1].split("/")[0].rsplit(":", 1)
out("session", chatroom=attribute(message, "chatroom"), setup=attribute(message, "setup"), path=path,
    label=attribute(message, "label"))
msrp = socket.create_connection((host, int(port)), source_address=(own, 0))
here = f"msrp://{own}:9/{session};tcp"


def frame(method, headers, body=None, flag="$"):
    tid = token()
    text = f"MSRP {tid} {method}\r\nTo-Path: {path}\r\nFrom-Path: {here}\r\n{headers}".encode()
    if body is not None:
        text += b"\r\n" + body + b"\r\n"
    msrp.sendall(text + f"-------{tid}{flag}\r\n".encode())
    return tid


def cpim(to, text):
    body = (f"From: <{me}>\r\nTo: <{to}>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\n"
            f"Content-Type: text/plain;charset=UTF-8\r\n\r\n{text}").encode()
    return frame("SEND", f"Message-ID: {token()}\r\nByte-Range: 1-{len(body)}/{len(body)}\r\n"
                         "Content-Type: message/cpim\r\n", body)


frame("SEND", f"Message-ID: {token()}\r\nByte-Range: 1-0/0\r\n")
incoming = b""
parts = {}


def receive(data):
    global incoming
    incoming += data
    while True:
        start = incoming.find(b"MSRP ")
        if start < 0:
            return
        tid = incoming[start:].split(b" ", 2)[1]
        for flag in b"$+#":
            mark = b"-------" + tid + bytes([flag]) + b"\r\n"
            end = incoming.find(mark, start)
            if end >= 0:
                break
        else:
            return
        whole = incoming[start:end]
        incoming = incoming[end + len(mark):]
        one(whole, tid.decode(), chr(flag))


def one(whole, tid, flag):
    head, gap, body = whole.partition(b"\r\n\r\n")
    head = head.decode()
    first = head.split("\r\n")[0].split()
    if first[2].isdigit():
        out("answer", tid=tid, status=int(first[2]))
        return
    if first[2] == "SEND":
        if (field(head, "failure-report") or "yes") != "no":
            reply = (f"MSRP {tid} 200 OK\r\nTo-Path: {field(head, 'from-path').split()[0]}\r\nFrom-Path: {here}\r\n"
                     f"-------{tid}$\r\n")
            msrp.sendall(reply.encode())
        number = field(head, "message-id")
        parts[number] = parts.get(number, b"") + (body[:-2] if gap else b"")
        if flag == "$":
            text = parts.pop(number).decode(errors="replace")
            if field(head, "content-type") == "message/cpim":
                envelope, _, rest = text.partition("\r\n\r\n")
                inner, _, words = rest.partition("\r\n\r\n")
                wrapped = "MSRP\r\n" + envelope
                out("message", text=words, **{"from": field(wrapped, "from"), "to": field(wrapped, "to")})
            elif text:
                out("message", text=text, **{"from": None, "to": None})
    elif first[2] == "REPORT":
        out("report", status=field(head, "status"))


# -- BFCP (RFC 8855) ----------------------------------------------------------------------------

floors = sections[1] if len(sections) > 1 and sections[1][0].split()[1] != "0" else None
bfcp, conference, number, transaction, request = None, 0, 0, 0, 0
if floors:
    conference, number = int(attribute(floors, "confid")), int(attribute(floors, "userid"))
    out("floors", floorctrl=attribute(floors, "floorctrl"), floorid=attribute(floors, "floorid"),
        confid=conference, userid=number)
    bfcp = socket.create_connection((address(floors), int(floors[0].split()[1])), source_address=(own, 0))


def ask(primitive, attributes=b""):
    global transaction
    transaction += 1
    bfcp.sendall(struct.pack("!BBHIHH", 0x20, primitive, len(attributes) // 4, conference, transaction, number)
                 + attributes)


NAMES = {1: "FloorRequest", 4: "FloorRequestStatus", 8: "FloorStatus", 12: "HelloAck", 13: "Error", 17: "GoodbyeAck"}
STATUS = {1: "Pending", 2: "Accepted", 3: "Granted", 4: "Denied", 5: "Cancelled", 6: "Released", 7: "Revoked"}
floor_octets = b""


def floor_news(data):
    global floor_octets, request
    floor_octets += data
    while len(floor_octets) >= 12:
        _, primitive, length, _, tid, _ = struct.unpack("!BBHIHH", floor_octets[:12])
        if len(floor_octets) < 12 + 4 * length:
            return
        body, floor_octets = floor_octets[12:12 + 4 * length], floor_octets[12 + 4 * length:]
        status = None
        # FLOOR-REQUEST-INFORMATION (15) holds OVERALL-REQUEST-STATUS (18) with REQUEST-STATUS (5).
        if primitive == 4 and body and body[0] >> 1 == 15:
            request = struct.unpack("!H", body[2:4])[0]
            at, end = 4, body[1]
            while at + 2 <= end:
                kind, size = body[at] >> 1, max(body[at + 1], 2)
                if kind == 18:
                    inner = body[at + 4:at + size]
                    if inner and inner[0] >> 1 == 5:
                        status = STATUS.get(inner[2], inner[2])
                at += (size + 3) // 4 * 4
        code = body[2] if primitive == 13 and len(body) > 2 else None
        out("bfcp", primitive=NAMES.get(primitive, primitive), status=status, error=code, tid=tid)


# -- the loop -----------------------------------------------------------------------------------

reading = True
commands = b""
while True:
    wanted = [sip.socket, sys.stdin] + ([msrp] if reading else []) + ([bfcp] if bfcp else [])
    for ready in select.select(wanted, [], [])[0]:
        if ready is sip.socket:
            for head, body in sip.messages():
                if head.startswith("BYE"):
                    sip.answer((head, body), "200 OK")
                    out("left", reason=field(head, "reason"))
                    sys.exit(0)
                elif head.startswith("SIP/2.0") and "BYE" in field(head, "cseq"):
                    out("bye")
                    sys.exit(0)
                elif not head.startswith("SIP/2.0") and not head.startswith("ACK"):
                    sip.answer((head, body), "200 OK" if head.startswith("OPTIONS") else "488 Not Acceptable Here")
        elif ready is msrp:
            data = msrp.recv(65536)
            if not data:
                out("msrp-closed")
                reading = False
            receive(data)
        elif ready is bfcp:
            data = bfcp.recv(65536)
            if not data:
                out("bfcp-closed")
                bfcp = None
            floor_news(data)
        else:
            data = os.read(0, 65536)
            if not data:
                sys.exit(0)
            commands += data
            while b"\n" in commands:
                line, commands = commands.split(b"\n", 1)
                word, _, rest = line.decode().partition(" ")
                if word == "say":
                    out("sent", tid=cpim(room, rest), text=rest)
                elif word == "to":
                    to, _, text = rest.partition(" ")
                    out("sent", tid=cpim(to, text), text=text)
                elif word == "nick":
                    out("sent", tid=frame("NICKNAME", f'Use-Nickname: "{rest}"\r\n'), text=rest)
                elif word == "request":
                    # FLOOR-ID (2), mandatory.
                    ask(1, struct.pack("!BBH", 2 << 1 | 1, 4, int(rest)))
                elif word == "release":
                    ask(2, struct.pack("!BBH", 3 << 1 | 1, 4, request))
                elif word == "hello":
                    ask(11)
                elif word == "stop":
                    reading = False
                elif word == "go":
                    reading = True
                elif word == "bye":
                    sip.send("BYE")
