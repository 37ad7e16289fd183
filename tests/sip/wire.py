"""Both neighbours of a border, played from the RFCs with plain sockets, and sharing nothing with Carnet: what
implementations of others really put on the wire. Every scenario ends with the border and its gateway empty.

    wire.py LEFT-BORDER LEFT RIGHT-BORDER RIGHT ADMIN-SOCKET
"""
import http.client
import json
import random
import re
import socket
import sys
import time

LEFT_BORDER, LEFT, RIGHT_BORDER, RIGHT, ADMIN = sys.argv[1:6]
PATIENCE = 30


def token():
    return "%012x" % random.getrandbits(48)


class Message:
    """What came: the start line, the headers in order, the body."""

    def __init__(self, octets):
        head, _, body = octets.partition(b"\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "surrogateescape")).split("\r\n")
        self.octets, self.start, self.body = octets, lines[0], body.decode("utf-8", "surrogateescape")
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        self.status = int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else None
        self.method = self.all("CSeq")[0].split()[1] if self.status else self.start.split()[0]

    def all(self, *names):
        wanted = [name.lower() for name in names]
        return [value for name, value in self.headers if name.lower() in wanted]

    def first(self, *names):
        return (self.all(*names) or [""])[0]

    def uri(self):
        """Of the Contact."""
        return re.search("<([^>]*)>", self.first("Contact", "m")).group(1)


class Neighbour:
    def __init__(self, address, border):
        self.address, self.border = address, border
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, 5060))
        self.tcp = None
        self.unread = b""
        # Datagrams that came; what comes again is passed over unless it is waited for.
        self.seen, self.repeats = set(), False

    def say(self, text, body=""):
        octets = text.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n" + body.encode()
        (self.tcp.sendall(octets) if self.tcp else self.udp.sendto(octets, (self.border, 5060)))

    def connect(self):
        self.tcp, self.unread = socket.create_connection((self.border, 5060), PATIENCE, (self.address, 0)), b""

    def hear(self, *wanted, patience=PATIENCE):
        """The next message; `wanted` are the methods and the status codes that are not passed over."""
        until = time.monotonic() + patience
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("%s waited in vain for %s" % (self.address, wanted))
            message = self.stream(left) if self.tcp else self.datagram(left)
            if message and (not wanted or (message.status or message.method) in wanted):
                return message

    def datagram(self, patience):
        self.udp.settimeout(patience)
        try:
            octets = self.udp.recvfrom(65535)[0]
        except TimeoutError:
            return None
        again = octets in self.seen and not self.repeats
        self.seen.add(octets)
        return None if again else Message(octets)

    def stream(self, patience):
        while True:
            # Answers to keep-alives (RFC 5626 §3.5.1).
            self.unread = self.unread.lstrip(b"\r\n")
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            length = re.search(rb"\r\n(?:content-length|l)\s*:\s*(\d+)", head, re.I)
            if end and len(rest) >= int(length.group(1)):
                whole = len(head) + 4 + int(length.group(1))
                octets, self.unread = self.unread[:whole], self.unread[whole:]
                return Message(octets)
            self.tcp.settimeout(patience)
            try:
                octets = self.tcp.recv(65535)
            except TimeoutError:
                return None
            if not octets:
                raise EOFError("the border has closed")
            self.unread += octets

    def answer(self, request, status, tag, body="", extra=""):
        copied = "".join("%s: %s\n" % pair for pair in request.headers
                         if pair[0].lower() in ("via", "v", "from", "f", "call-id", "i", "cseq", "record-route"))
        to = request.first("To", "t")
        to += "" if "tag=" in to else ";tag=" + tag
        kind = "Content-Type: application/sdp\n" if body else ""
        self.say("SIP/2.0 %d X\n%sTo: %s\nContact: <sip:%s:5060>\n%s%sContent-Length: %d\n"
                 % (status, copied, to, self.address, extra, kind, len(body.encode())), body)

    def quiet(self):
        """Throws away what is still on its way."""
        self.udp.settimeout(0.05)
        try:
            while True:
                self.udp.recvfrom(65535)
        except TimeoutError:
            pass


left, right = Neighbour(LEFT, LEFT_BORDER), Neighbour(RIGHT, RIGHT_BORDER)


def sdp(address, port=4000, setup="actpass", more="", end="\r\n"):
    lines = ["v=0", "o=- 1 1 IN IP4 " + address, "s=-", "c=IN IP4 " + address, "b=AS:400", "t=0 0", "a=x-first: 1",
             "m=message %d TCP/MSRP *" % port, "i=a line", "a=accept-types:text/plain",
             "a=path:msrp://%s:%d/s1;tcp" % (address, port), "a=msrp-cema", "a=setup:" + setup, "a=x-last"]
    return end.join(lines) + end + more


class Caller:
    """Requests of the left neighbour in one dialog."""

    def __init__(self, user="carol"):
        self.id, self.tag, self.number = token(), token(), 0
        self.target, self.to = "sip:%s@right.example" % user, "<sip:%s@right.example>" % user

    def request(self, method, body="", number=None, extra="", branch=None, transport="UDP"):
        if number is None and method not in ("ACK", "CANCEL"):
            self.number += 1
        number = number or self.number
        self.branch = branch or "z9hG4bK" + token()
        kind = "Content-Type: application/sdp\n" if body else ""
        left.say("%s %s SIP/2.0\nVia: SIP/2.0/%s %s:5060;branch=%s;rport\nMax-Forwards: 70\n"
                 "From: <sip:alice@left.example>;tag=%s\nTo: %s\nCall-ID: %s\nCSeq: %d %s\n"
                 "Contact: <sip:alice@%s:5060>\n%s%sContent-Length: %d\n"
                 % (method, self.target, transport, LEFT, self.branch, self.tag, self.to, self.id, number, method, LEFT,
                    extra, kind, len(body.encode())), body)

    def took(self, answer):
        self.to = answer.first("To", "t")
        self.target = answer.uri()

    def up(self, body=None, reply=None):
        """An answered call; the INVITE at the right neighbour and the 200 at the left one."""
        self.request("INVITE", sdp(LEFT) if body is None else body)
        there = right.hear("INVITE")
        right.answer(there, 200, "r1", reply or sdp(RIGHT, 5000, "passive"))
        ok = left.hear(200)
        self.took(ok)
        self.request("ACK")
        right.hear("ACK")
        return there, ok

    def down(self):
        self.request("BYE")
        there = right.hear("BYE")
        right.answer(there, 200, "r1")
        left.hear(200)


def ask(path):
    connection = http.client.HTTPConnection("carnet")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(ADMIN)
    connection.request("GET", "/api/v1/" + path)
    return json.loads(connection.getresponse().read())


def contexts():
    return len(ask("gateways/gate/contexts")["contexts"])


def empty():
    """No contexts and no calls in progress."""
    until = time.monotonic() + PATIENCE
    while True:
        sessions = ask("sessions")
        if contexts() == 0 and sessions["total"] == 0:
            return
        assert time.monotonic() < until, (ask("gateways/gate/contexts"), sessions)
        time.sleep(0.05)


# -- how messages are written ---------------------------------------------------------------------------------


def compact_folded_and_several_in_a_line():
    """RFC 3261 §7.3.1 and §7.3.3; lines of the description that end with LF (RFC 4566 §5)."""
    call, body = Caller(), sdp(LEFT, end="\n")
    left.say("INVITE sip:carol@right.example SIP/2.0\n"
             "v: SIP/2.0/UDP %s:5060 ;branch=z9hG4bK%s;rport,\n  SIP/2.0/TCP\n 10.9.9.9;branch=z9hG4bKx\n"
             "Max-Forwards:\n 70\nf\t:  \"A \\\" , <B>\"\n <sip:alice@left.example>\n\t;tag=%s\nt: <sip:carol@right.example>\n"
             "i:%s\nCSeq: 1\n INVITE\nm:<sip:alice@%s>\nk: 100rel,timer\nX-Odd:  kept \nc:\n application/sdp\nl: %d\n"
             % (LEFT, token(), call.tag, call.id, LEFT, len(body)), body)
    there = right.hear("INVITE")
    assert there.first("X-Odd") == "kept" and "10.9.9.9" not in str(there.octets), there.octets
    mine, seen = body.split("\n"), there.body.split("\n")
    changed = [(a, b) for a, b in zip(mine, seen, strict=True) if a != b]
    assert [a.split(" ")[0] for a, _ in changed] == ["o=-", "c=IN", "m=message"], changed
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    ok = left.hear(200)
    assert ",".join(ok.all("v", "Via")).count("SIP/2.0/") == 2, ok.octets
    call.number = 1
    call.took(ok)
    call.request("ACK")
    right.hear("ACK")
    call.down()


def a_stream_cut_anywhere_and_several_at_once():
    """RFC 3261 §7.5 and §18.3."""
    left.connect()
    option = ("OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/TCP %s;branch=z9hG4bK%s\r\nMax-Forwards: 7\r\n"
              "From: <sip:a@b>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: %s\r\nCSeq: %d OPTIONS\r\nContent-Length: 3\r\n\r\nabc")
    several = "".join(option % (LEFT_BORDER, LEFT, token(), LEFT_BORDER, token(), n) for n in range(5)) + "\r\n\r\n"
    left.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(0, len(several), 97):
        left.tcp.sendall(several[n:n + 97].encode())
    left.tcp.sendall(several.encode())
    seen = [left.hear(200).first("CSeq") for _ in range(5)]
    assert sorted(seen) == ["%d OPTIONS" % n for n in range(5)], seen
    left.tcp.close()
    # Without Content-Length nobody knows where it ends: it is answered, and no more is read.
    left.connect()
    left.tcp.sendall((option % (LEFT_BORDER, LEFT, token(), LEFT_BORDER, token(), 1)).replace("Content-Length: 3\r\n", "").encode())
    left.hear(400)
    try:
        left.hear(200, patience=5)
        raise AssertionError("it reads on")
    except (EOFError, ConnectionResetError):
        pass
    left.tcp.close()
    left.tcp = None


def what_does_not_fit_a_datagram():
    """RFC 3261 §18.1.1: over TCP, and over UDP where there is no TCP."""
    large = sdp(LEFT, more="".join("a=x-more:%d %s\r\n" % (n, "x" * 80) for n in range(40)))
    call = Caller()
    call.request("INVITE", large)
    there = right.hear("INVITE")
    assert there.body.count("a=x-more") == 40 and "SIP/2.0/UDP" in there.first("Via")
    right.answer(there, 486, "r1")
    left.hear(486)
    call.request("ACK", number=1, branch=call.branch)
    listener = socket.create_server((RIGHT, 5060))
    call = Caller()
    call.request("INVITE", large)
    listener.settimeout(PATIENCE)
    right.tcp, _ = listener.accept()
    there = right.hear("INVITE")
    assert there.body.count("a=x-more") == 40 and "SIP/2.0/TCP" in there.first("Via")
    right.answer(there, 486, "r1")
    left.hear(486)
    call.request("ACK", number=1, branch=call.branch)
    right.hear("ACK")
    right.tcp.close()
    listener.close()
    right.tcp = None


def a_name_in_latin_1_and_one_that_has_no_time():
    """A display name that is not UTF-8 passes; 503 of the next one is none of the border (RFC 3261 §16.7)."""
    call = Caller()
    call.to = '"M\udcfcller" <sip:carol@right.example>'
    call.request("INVITE", sdp(LEFT))
    there = right.hear("INVITE")
    assert b'"M\xfcller"' in there.octets
    right.answer(there, 503, "r1", extra="Retry-After: 77\n")
    refused = left.hear(500)
    assert refused.first("Retry-After") == "77" and b'"M\xfcller"' in refused.octets
    call.request("ACK", number=1, branch=call.branch)


def a_loop():
    """RFC 3261 §16.3: the right neighbour sends everything back as it came, under Via of its own."""
    call = Caller()
    call.request("INVITE", sdp(LEFT))
    turns = 0
    while True:
        there = right.hear("INVITE", 482)
        if there.status:
            break
        turns += 1
        assert turns < 5
        head, _, body = there.octets.decode().partition("\r\n\r\n")
        start, _, rest = head.partition("\r\n")
        via = "Via: SIP/2.0/UDP %s:5060;branch=z9hG4bK%s;rport" % (RIGHT, token())
        right.say("\n".join([start, via, rest.replace("\r\n", "\n"), ""]), body)
    # Back the way that it came, once for each turn.
    for turn in range(turns):
        copied = [pair for pair in there.headers if pair[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
        right.say("SIP/2.0 482 X\n%sContent-Length: 0\n" % "".join("%s: %s\n" % pair for pair in copied[1:]))
        there = right.hear(482) if turn + 1 < turns else there
    left.hear(482)
    call.request("ACK", number=1, branch=call.branch)
    assert turns == 2, turns


# -- what crosses -----------------------------------------------------------------------------------------------


def an_answer_until_its_ack():
    """RFC 3261 §13.3.1.4 and §13.2.2.4: repeated by us to the one side, acknowledged again to the other."""
    call = Caller()
    call.request("INVITE", sdp(LEFT))
    there = right.hear("INVITE")
    left.repeats = right.repeats = True
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    first, second = left.hear(200), left.hear(200)
    assert first.octets == second.octets
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    call.took(first)
    call.request("ACK")
    right.hear("ACK")
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    right.hear("ACK")
    left.repeats = right.repeats = False
    call.down()


def a_bye_before_the_ack():
    call = Caller()
    call.request("INVITE", sdp(LEFT))
    there = right.hear("INVITE")
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    call.took(left.hear(200))
    call.request("BYE")
    bye = right.hear("BYE")
    right.answer(bye, 200, "r1")
    call.request("ACK", number=1)
    right.hear("ACK")


def byes_that_cross():
    call = Caller()
    there, ok = call.up()
    right.say("BYE %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\nMax-Forwards: 70\nFrom: %s\nTo: %s\nCall-ID: %s\n"
              "CSeq: 9 BYE\nContent-Length: 0\n"
              % (there.uri(), RIGHT, token(), ok.first("To"), there.first("From"), call.id))
    call.request("BYE")
    right.answer(right.hear("BYE"), 481, "r1")
    left.answer(left.hear("BYE"), 200, "l1")
    left.hear(481)
    right.hear(200)


def a_cancel_that_crosses_the_answer():
    """RFC 3261 §9.1, §15: who cancels too late has a call, and ends it."""
    call = Caller()
    call.request("INVITE", sdp(LEFT))
    there = right.hear("INVITE")
    right.answer(there, 180, "r1")
    left.hear(180)
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive"))
    call.request("CANCEL", number=1, branch=call.branch)
    ok = left.hear(200)
    while "INVITE" not in ok.first("CSeq"):
        ok = left.hear(200)
    call.took(ok)
    call.request("ACK", number=1)
    right.hear("ACK")
    call.down()


# -- media lines ------------------------------------------------------------------------------------------------


def a_line_refused_added_and_taken_out():
    """RFC 3264 §6 and §8: MSRP and BFCP, one refused, put in later, and the other taken out."""
    bfcp = "m=application %d TCP/BFCP *\r\nc=IN IP4 %s\r\na=floorctrl:%s\r\na=setup:%s\r\n"
    call = Caller()
    call.up(sdp(LEFT, more=bfcp % (4002, LEFT, "c-only", "actpass")),
            sdp(RIGHT, 5000, "passive", bfcp % (0, RIGHT, "s-only", "passive")))
    assert contexts() == 1
    offer = sdp(LEFT, more=bfcp % (4002, LEFT, "c-only", "actpass"))
    call.request("INVITE", offer)
    there = right.hear("INVITE")
    ports = re.findall(r"^m=\w+ (\d+)", there.body, re.M)
    assert len(set(ports)) == 2 and "0" not in ports, there.body
    # Refused: all is as it was.
    right.answer(there, 488, "r1")
    left.hear(488)
    call.request("ACK", number=call.number, branch=call.branch)
    call.request("INVITE", offer)
    there = right.hear("INVITE")
    right.answer(there, 200, "r1", sdp(RIGHT, 5000, "passive", bfcp % (5002, RIGHT, "s-only", "passive")))
    left.hear(200)
    call.request("ACK")
    right.hear("ACK")
    assert contexts() == 2
    call.request("INVITE", sdp(LEFT, port=0, more=bfcp % (4002, LEFT, "c-only", "actpass")))
    there = right.hear("INVITE")
    assert re.findall(r"^m=\w+ (\d+)", there.body, re.M)[0] == "0", there.body
    right.answer(there, 200, "r1", sdp(RIGHT, 0, "passive", bfcp % (5002, RIGHT, "s-only", "passive")))
    left.hear(200)
    call.request("ACK")
    right.hear("ACK")
    until = time.monotonic() + PATIENCE
    while contexts() != 1:
        assert time.monotonic() < until
        time.sleep(0.05)
    call.down()


def an_offer_in_the_200():
    call = Caller()
    call.request("INVITE")
    there = right.hear("INVITE")
    right.answer(there, 200, "r1", sdp(RIGHT, 5000))
    ok = left.hear(200)
    assert "m=message" in ok.body and RIGHT not in ok.body.split("a=path")[0].split("c=")[1], ok.body
    call.took(ok)
    call.request("ACK", sdp(LEFT, setup="active"))
    ack = right.hear("ACK")
    assert "m=message" in ack.body, ack.octets
    call.down()


SCENARIOS = [
    compact_folded_and_several_in_a_line, a_stream_cut_anywhere_and_several_at_once, what_does_not_fit_a_datagram,
    a_name_in_latin_1_and_one_that_has_no_time, a_loop,
    an_answer_until_its_ack, a_bye_before_the_ack, byes_that_cross, a_cancel_that_crosses_the_answer,
    a_line_refused_added_and_taken_out, an_offer_in_the_200,
]

for scenario in SCENARIOS:
    began = time.monotonic()
    left.quiet()
    right.quiet()
    scenario()
    empty()
    print("%s: %.1f s" % (scenario.__name__, time.monotonic() - began), flush=True)
