"""A user of a key management service that shares no code with it.

Builds REQUEST_INIT, TRANSFER_INIT and RESOLVE_INIT octet by octet from RFC 6043, asks over HTTPS
and checks what comes back: MACs, keys, and that what must not be granted is refused with the
right MIKEY error and HTTP status. RSA is the openssl program's.

stranger.py URL CA READER DIRECTORY: the service, the authority of its HTTPS, the folder of
second_opinion.py, and one that holds kms.pem, alice.pem and alice.key for signed requests. Prints a
line for everything that held, and NAME HEX for every message.
"""

import http.client
import os
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse

url, ca, reader, directory = sys.argv[1:]
sys.path.insert(0, reader)
from second_opinion import NO_CSB, WORD, Message, lv, mac, open_kemac, prf, protection  # noqa: E402

PRF = 1
ALICE, BOB, CAROL = b"sip:alice@x.example", b"sip:bob@x.example", b"sip:carol@x.example"
KMS = b"sip:kms.example"
KEY = {b"alice": b"\x01" * 32, b"bob": b"\x02" * 32, b"carol": b"\x03" * 32}

where = urllib.parse.urlsplit(url)
context = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection(where.hostname, where.port, context=context, timeout=10)


def held(what, condition=True):
    assert condition, what
    print("held:", what)


def post(kind, octets):
    path = f"/keymanagement?requesttype=ticket{kind}"
    connection.request("POST", path, octets, {"Content-Type": "application/mikey"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def ntp(at):
    seconds = at + 2208988800
    return struct.pack(">II", int(seconds), int((seconds % 1) * 2**32))


# Payloads as (type, octets after Next payload).
def t(at):
    return 5, b"\0" + ntp(at)


def tr(role, at):
    return 13, bytes([role, 3]) + ntp(at)[:4]


def idr(role, data, kind=1):
    return 14, bytes([role, kind]) + struct.pack(">H", len(data)) + data


def randr(role, rand):
    return 15, bytes([role]) + lv(rand)


def policy(me, to, lifetime):
    # Type 1, subtype 1, version 1, PRF 1 and D; E F G H I, N O.
    now = time.time()
    data = first_and_chain([idr(3, KMS), idr(1, me), tr(2, now - 60), tr(3, now + lifetime), idr(2, to)])
    return 16, bytes.fromhex("00010101" "03" "f860") + struct.pack(">H", len(data)) + data


def chain(payloads):
    out = b""
    for i, (_, octets) in enumerate(payloads):
        following = payloads[i + 1][0] if i + 1 < len(payloads) else 0
        out += bytes([following]) + octets
    return out


def first_and_chain(payloads):
    return bytes([payloads[0][0]]) + chain(payloads)


def header(kind, first, csb, sessions=b"\x00\x01"):
    return bytes([1, kind, first, 0x80 | PRF]) + csb + sessions


def message(kind, csb, payloads):
    return header(kind, payloads[0][0], csb) + chain(payloads)


def label(csb, direction, rand_i, rand_r):
    return b"\xff" + csb + bytes([direction]) + lv(rand_i) + lv(rand_r)


class Asked:
    """A request under way: its octets, and the keys of the answer."""

    def __init__(self, kind, who, party, subject, key=None, at=None, name=None):
        """`kind` 11 or 16; `party` 1 or 2; `subject` a TP or TICKET payload."""
        self.csb, rand = os.urandom(4), os.urandom(32)
        rands = (rand, b"") if party == 1 else (b"", rand)
        name = name if name is not None else who.split(b":")[1].split(b"@")[0]
        key = key or KEY[name]
        payloads = [t(at or time.time()), randr(party, rand), idr(party, who), idr(3, KMS), subject]
        octets = message(kind, self.csb, payloads + [idr(4, name, 2), (9, b"\x02")])
        keys = protection(PRF, key, label(self.csb, 1, *rands))
        self.octets = octets + mac(PRF, keys[1], octets, who, KMS)
        self.init, self.keys = keys, protection(PRF, key, label(self.csb, 2, *rands))

    def answer(self, kind, octets):
        got = Message(octets)
        assert (got.kind, got.prf, got.csb, got.v) == (kind, PRF, self.csb, 0), got.kind
        assert mac(PRF, self.keys[1], octets[:-32], self.octets) == octets[-32:], "MAC of the answer"
        return got, open_kemac(PRF, self.keys, got.csb, got.first(5), got.first(1))

    def refusal(self, octets):
        """The error's number, and whether its MAC is right."""
        got = Message(octets)
        assert (got.kind, got.csb) == (6, self.csb)
        proven = got.payloads[-1][0] == 9 and mac(PRF, self.init[1], octets[:-32]) == octets[-32:]
        return got.first(12), proven


def show(name, octets):
    print(name, octets.hex())


def request(to, lifetime=3600, **how):
    return Asked(11, how.pop("who", ALICE), 1, policy(how.pop("named", ALICE), to, lifetime), **how)


class Ticket:
    """A granted ticket, and what its owner makes of it."""

    def __init__(self, to, lifetime=3600):
        asked = request(to, lifetime)
        status, octets = post("request", asked.octets)
        assert status == 200, (status, octets.hex())
        answer, keys = asked.answer(13, octets)
        assert [kind for kind, _, _ in keys] == [6, 6, 0], "MPKi, MPKr, TGK"
        (_, self.mpki, _), (_, self.mpkr, _), (_, self.tgk, self.spi) = keys
        self.sealed, self.to, self.policy = answer.first(17).sealed, to, answer.first(17)
        assert answer.first(17).initiator_data == b"" and answer.id(3) == KMS
        self.messages = asked.octets, octets

    def transfer(self, mpkr=None):
        """TRANSFER_INIT, and the TICKET payload in it."""
        csb, rand = os.urandom(4), os.urandom(32)
        # One crypto session: CS 1, protocol 241, policy 1, no session data, the SPI of the TGK.
        session = b"\x01\x02" + b"\x01\xf1\x01\x01\x00\x00" + lv(self.spi)
        before = [t(time.time()), randr(1, rand), idr(1, ALICE), idr(2, self.to)]
        before += [(10, b"\x01\xf1\x00\x00"), (21, b"\x01\x00\x05mikey")]
        head = header(14, 5, csb, session)
        covered = head + chain(before + [(17, self.sealed), (9, b"\x02")])
        key = protection(PRF, self.mpki, label(csb, 1, rand, b""))[1]
        v = mac(PRF, key, covered, ALICE, self.to)
        data = b"\x09" + b"\x09\x02" + v + b"\x00\x02"
        vr = protection(PRF, mpkr or self.mpkr, b"\xff" + NO_CSB + b"\x04")[1]
        data += mac(PRF, vr, data)
        ticket = (17, self.sealed + struct.pack(">H", len(data)) + data)
        return head + chain(before + [ticket, (9, b"\x02" + v)]), ticket


def fork(ticket, answer):
    name = answer.id(2)
    tail = b"\xff" + NO_CSB + b"\x00" + struct.pack(">H", len(name)) + name + lv(answer.rand(3))
    return prf(PRF, ticket.mpkr, WORD["mpkr'"] + tail, 32), prf(PRF, ticket.tgk, WORD["tgk'"] + tail, 32)


def refused(what, kind, asked, status, number, proven):
    got, octets = post(kind, asked.octets)
    assert got == status, (what, got, octets.hex())
    assert asked.refusal(octets) == (number, proven), (what, asked.refusal(octets))
    held(f"{what}: HTTP {status}, MIKEY error {number}")
    return octets


# What is granted.
ticket = Ticket(BOB)
held("a ticket is issued: MAC, keys and policy are right")
offer, carried = ticket.transfer()
asked = Asked(16, BOB, 2, carried)
status, octets = post("resolve", asked.octets)
assert status == 200, (status, octets.hex())
answer, keys = asked.answer(18, octets)
mpkr, tgk = fork(ticket, answer)
assert [(k, v) for k, v, _ in keys] == [(6, ticket.mpki), (6, mpkr), (0, tgk)]
assert keys[2][2] == ticket.spi and answer.id(2) == BOB
held("the called one gets the forked keys that the caller works out")
again = Asked(16, BOB, 2, carried)
other, _ = again.answer(18, post("resolve", again.octets)[1])
held("a second resolve forks anew", other.rand(3) != answer.rand(3))
show("request_init", ticket.messages[0])
show("request_resp", ticket.messages[1])
show("transfer_init", offer)
show("resolve_init", asked.octets)
show("resolve_resp", octets)

# What is refused.
refused("a replayed request", "request", (first := request(BOB)) and post("request", first.octets) and first, 200, 1, False)
refused("a replayed resolve", "resolve", asked, 200, 1, False)
show("error", refused("a request with a wrong key", "request", request(BOB, key=b"\x09" * 32), 401, 0, False))
refused("a resolve with a wrong key", "resolve", Asked(16, BOB, 2, carried, key=b"\x09" * 32), 401, 0, False)
refused("an unknown user", "request", request(BOB, name=b"zoe", key=b"\x05" * 32), 401, 0, False)
refused("another's name", "request", request(BOB, who=CAROL, named=CAROL, name=b"alice"), 403, 7, True)
refused("a forbidden callee", "request", request(CAROL), 403, 7, True)
refused("an unknown callee", "request", request(b"sip:zoe@x.example"), 403, 7, True)
refused("a request of ten minutes ago", "request", request(BOB, at=time.time() - 600), 200, 1, False)
refused("a request of ten minutes hence", "request", request(BOB, at=time.time() + 600), 200, 1, False)
refused("somebody else's ticket", "resolve", Asked(16, CAROL, 2, carried), 403, 7, True)
_, stolen = ticket.transfer(mpkr=b"\x07" * 32)
refused("a ticket that its owner did not send", "resolve", Asked(16, BOB, 2, stolen), 200, 0, True)
bad = bytearray(carried[1])
bad[-120] ^= 1
refused("a ticket that was changed", "resolve", Asked(16, BOB, 2, (17, bytes(bad))), 200, 0, True)
short = Ticket(BOB, 1)
_, expired = short.transfer()
time.sleep(2.5)
refused("an expired ticket", "resolve", Asked(16, BOB, 2, expired), 200, 15, True)


# Signed requests (4.2.1.3, 4.2.3.3).
def openssl(*arguments, octets=b""):
    run = subprocess.run(["openssl", *arguments], input=octets, capture_output=True, check=True, cwd=directory)
    return run.stdout


def pem_to_der(name):
    return openssl("x509", "-in", name, "-outform", "DER")


class Signed(Asked):
    def __init__(self, kind, who, party, subject, padding, spoil=False):
        self.csb, rand, env_key = os.urandom(4), os.urandom(32), os.urandom(32)
        rands = (rand, b"") if party == 1 else (b"", rand)
        name = who.split(b":")[1].split(b"@")[0].decode()
        certificate = pem_to_der(f"{name}.pem")
        envelope = openssl(
            "pkeyutl", "-encrypt", "-certin", "-inkey", "kms.pem", "-pkeyopt", f"rsa_padding_mode:{padding}",
            octets=env_key,
        )
        payloads = [t(time.time()), randr(party, rand), idr(party, who)]
        payloads += [(7, b"\x00" + struct.pack(">H", len(certificate)) + certificate), idr(3, KMS), subject]
        # C 0 and fourteen bits of length; S type 0 or 1 and twelve bits of length.
        payloads += [(2, struct.pack(">H", len(envelope)) + envelope)]
        pss = padding == "oaep"
        octets = header(kind, 5, self.csb)
        for i, (_, value) in enumerate(payloads):
            octets += bytes([payloads[i + 1][0] if i + 1 < len(payloads) else 4]) + value
        octets += struct.pack(">H", (1 << 12 if pss else 0) | 256)
        how = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if pss else []
        sign = openssl("dgst", "-sha256", "-sign", f"{name}.key", *how, octets=octets + who + KMS)
        if spoil:
            sign = sign[:-1] + bytes([sign[-1] ^ 1])
        self.octets = octets + sign
        self.init = protection(PRF, env_key, label(self.csb, 1, *rands))
        self.keys = protection(PRF, env_key, label(self.csb, 2, *rands))


for padding in ("pkcs1", "oaep"):
    asked = Signed(12, ALICE, 1, policy(ALICE, BOB, 3600), padding)
    status, octets = post("request", asked.octets)
    assert status == 200, (status, octets.hex())
    _, keys = asked.answer(13, octets)
    held(f"a signed request ({padding})", [kind for kind, _, _ in keys] == [6, 6, 0])
    show("request_init_pk", asked.octets)
    asked = Signed(17, BOB, 2, carried, padding)
    answer, keys = asked.answer(18, post("resolve", asked.octets)[1])
    held(f"a signed resolve ({padding})", (keys[1][1], keys[2][1]) == fork(ticket, answer))
    show("resolve_init_pk", asked.octets)
refused("a wrong signature", "request", Signed(12, ALICE, 1, policy(ALICE, BOB, 60), "pkcs1", True), 401, 0, False)
refused("signed, to a forbidden callee", "request", Signed(12, ALICE, 1, policy(ALICE, CAROL, 60), "oaep"), 403, 7, True)
print("all held")
