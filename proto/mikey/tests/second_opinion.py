"""Reads RFC 6043 for itself: its own parser, HMAC from Python's library, AES from OpenSSL.

Takes transcripts on standard input, `RUN NAME HEX` a line, and checks every MAC, decrypts every
KEMAC and derives every key of each. Shares no code and no data with the crate it checks.
"""

import hashlib
import hmac
import struct
import subprocess
import sys

# First words of labels (RFC 3830 4.1.3, 4.1.4; RFC 6043 5.1.1, A.2.2).
WORD = {
    name: struct.pack(">I", value)
    for name, value in {
        "tek": 0x2AD01C64, "encr": 0x150533E1, "auth": 0x2D22AC75, "salt": 0x29B88916,
        "mpkr'": 0x2B288856, "tgk'": 0x1512B54A, "mpki": 0x220E99A2, "mpkr": 0x1F4D675B,
    }.items()
}
NO_CSB = b"\xff" * 4
MAC_LEN = {0: 0, 1: 20, 2: 32}
TIME_LEN = {0: 8, 1: 8, 2: 4, 3: 4}
# PRF number: key octets, authentication key octets, encryption and MAC algorithm.
SUITE = {0: (16, 20, 1, 1), 1: (32, 32, 3, 2)}


def lv(octets):
    return bytes([len(octets)]) + octets


def prf(number, inkey, label, length):
    digest = hashlib.sha1 if number == 0 else hashlib.sha256
    size = digest().digest_size
    blocks = -(-length // size)
    out = bytes(blocks * size)
    for start in range(0, len(inkey), 32):
        key, a, p = inkey[start : start + 32], label, b""
        for _ in range(blocks):
            a = hmac.new(key, a, digest).digest()
            p += hmac.new(key, a + label, digest).digest()
        out = bytes(x ^ y for x, y in zip(out, p))
    return out[:length]


def mac(number, key, *parts):
    digest = hashlib.sha1 if number == 0 else hashlib.sha256
    return hmac.new(key, b"".join(parts), digest).digest()


def protection(number, inkey, label):
    key, auth, _, _ = SUITE[number]
    return (
        prf(number, inkey, WORD["encr"] + label, key),
        prf(number, inkey, WORD["auth"] + label, auth),
        prf(number, inkey, WORD["salt"] + label, 14),
    )


def aes_ctr(key, iv, octets):
    args = ["openssl", "enc", f"-aes-{len(key) * 8}-ctr", "-K", key.hex(), "-iv", iv.hex()]
    return subprocess.run(args, input=octets, capture_output=True, check=True).stdout


class Ticket:
    """TP or TICKET (RFC 6043 6.10)."""

    def __init__(self, octets, at, whole):
        start = at
        self.type, _, _, prf_d, flags, length = struct.unpack_from(">HBBBHH", octets, at)
        self.prf, self.d, self.forking = prf_d >> 1, prf_d & 1, flags >> 11 & 1
        at += 9 + length
        if whole:
            (length,) = struct.unpack_from(">H", octets, at)
            self.data = octets[at + 2 : at + 2 + length]
            at += 2 + length
            self.sealed, self.sealed_end = octets[start:at], at
            (length,) = struct.unpack_from(">H", octets, at)
            self.initiator_data = octets[at + 2 : at + 2 + length]
            at += 2 + length
        self.end = at


def payload(kind, octets, at):
    """Reads a payload after its Next payload octet: its value and where it ends."""

    def long(offset):
        (length,) = struct.unpack_from(">H", octets, at + offset)
        begin = at + offset + 2
        return octets[begin : begin + length], begin + length

    if kind == 5:  # T
        end = at + 1 + TIME_LEN[octets[at]]
        return octets[at + 1 : end], end
    if kind == 11:  # RAND
        end = at + 1 + octets[at]
        return octets[at + 1 : end], end
    if kind == 15:  # RANDR
        end = at + 2 + octets[at + 1]
        return (octets[at], octets[at + 2 : end]), end
    if kind == 14:  # IDR
        data, end = long(2)
        return (octets[at], data), end
    if kind == 10:  # SP
        data, end = long(2)
        return (octets[at], octets[at + 1], data), end
    if kind == 21:  # General extension
        data, end = long(1)
        return (octets[at], data), end
    if kind == 1:  # KEMAC
        data, end = long(1)
        return (octets[at], data, octets[end]), end + 1 + MAC_LEN[octets[end]]
    if kind == 9:  # V
        end = at + 1 + MAC_LEN[octets[at]]
        return (octets[at], octets[at + 1 : end]), end
    if kind == 12:  # ERR
        return octets[at], at + 3
    if kind in (16, 17):  # TP, TICKET
        ticket = Ticket(octets, at, kind == 17)
        return ticket, ticket.end
    raise ValueError(f"payload {kind}")


def chain(octets, at, kind):
    out = []
    while kind:
        following = octets[at]
        value, at = payload(kind, octets, at + 1)
        out.append((kind, value))
        kind = following
    assert at == len(octets), "octets after the last payload"
    return out


class Message:
    def __init__(self, octets):
        self.octets = octets
        version, self.kind, first, v_prf = octets[:4]
        assert version == 1
        self.v, self.prf, self.csb = v_prf >> 7, v_prf & 127, octets[4:8]
        self.map, at, self.sessions = octets[9], 10, []
        for _ in range(octets[8]):
            assert self.map == 2
            cs_id, protocol, s_count = octets[at : at + 3]
            policies = octets[at + 3 : at + 3 + (s_count & 127)]
            at += 3 + len(policies)
            at += 2 + struct.unpack_from(">H", octets, at)[0]
            spi = octets[at + 1 : at + 1 + octets[at]]
            at += 1 + len(spi)
            self.sessions.append((cs_id, protocol, s_count >> 7, policies, spi))
        self.payloads = chain(octets, at, first)

    def first(self, kind):
        return next(value for k, value in self.payloads if k == kind)

    def role(self, kind, role):
        return next(value[1] for k, value in self.payloads if k == kind and value[0] == role)

    def id(self, role):
        return self.role(14, role)

    def rand(self, role):
        return self.role(15, role)

    def label(self, direction, rand_i, rand_r):
        return b"\xff" + self.csb + bytes([direction]) + lv(rand_i) + lv(rand_r)


def open_kemac(number, keys, csb, time, kemac):
    encr, _, salt = keys
    alg, octets, mac_alg = kemac
    assert (alg, mac_alg) == (SUITE[number][2], 0)
    iv = bytes(a ^ b for a, b in zip(salt, b"\0\0" + csb + time)) + b"\0\0"
    plain, at, out = aes_ctr(encr, iv, octets), 0, []
    while True:
        following, kinds, length = struct.unpack_from(">BBH", plain, at)
        key = plain[at + 4 : at + 4 + length]
        at += 4 + length
        assert kinds & 15 == 1, "every key has an SPI"
        spi = plain[at + 1 : at + 1 + plain[at]]
        at += 1 + len(spi)
        out.append((kinds >> 4, key, spi))
        if not following:
            assert at == len(plain)
            return out
        assert following == 20


def open_ticket(number, ticket, tpk, mac_len):
    """RFC 6043 Appendix A: MPKi, MPKr and the TGK."""
    data = ticket.data
    (header,) = struct.unpack_from(">H", data, 1)
    payloads = chain(data, 3 + header, data[0])
    assert [kind for kind, _ in payloads] == [5, 11, 1, 14, 9]
    (_, time), (_, rand), (_, kemac) = payloads[:3]
    keys = protection(number, tpk, b"\xff" + NO_CSB + b"\x05" + lv(rand))
    assert mac(number, keys[1], ticket.sealed[:-mac_len]) == ticket.sealed[-mac_len:]
    (kind, mpk, _), tgk = open_kemac(number, keys, NO_CSB, time, kemac)
    assert kind == 6
    label = b"\xff" + NO_CSB + b"\x06" + lv(rand)
    derive = lambda word: prf(number, mpk, WORD[word] + label, len(mpk))
    return derive("mpki"), derive("mpkr"), tgk


def check(run):
    names = ("request_init", "request_resp", "transfer_init", "resolve_init", "resolve_resp", "transfer_resp")
    messages = [Message(run[name]) for name in names]
    ask, granted, offer, question, resolved, answer = messages
    assert [m.kind for m in messages] == [11, 13, 14, 16, 18, 15]
    assert [m.v for m in messages] == [1, 0, 1, 1, 0, 0]
    number = ask.prf
    assert all(m.prf == number for m in messages)
    assert all(m.map == 1 for m in (ask, granted, question, resolved))
    mac_len = MAC_LEN[SUITE[number][3]]
    proven = lambda m, keys, *suffix: mac(number, keys[1], m.octets[:-mac_len], *suffix) == m.octets[-mac_len:]

    # Request (4.2.1, 5.1.2, 5.5).
    rand_i = ask.rand(1)
    assert proven(ask, protection(number, run["alice"], ask.label(1, rand_i, b"")), ask.id(1), ask.id(3))
    keys = protection(number, run["alice"], ask.label(2, rand_i, b""))
    assert granted.csb == ask.csb and proven(granted, keys, ask.octets)
    ticket = granted.first(17)
    fork = bool(ticket.forking)
    got = open_kemac(number, keys, granted.csb, granted.first(5), granted.first(1))
    mpki, mpkr, tgk = open_ticket(number, ticket, run["tpk"], mac_len)
    assert [k for k, _, _ in got] == ([6, 6, 0] if fork else [6, 0])
    assert got[0][1] == mpki and got[-1] == tgk and ticket.initiator_data == b""
    assert not fork or got[1][1] == mpkr

    # Transfer (4.2.2, 6.10).
    assert [kind for kind, _ in offer.payloads] == [5, 15, 14, 14, 10, 21, 17, 9]
    rand_i = offer.rand(1)
    keys = protection(number, mpki, offer.label(1, rand_i, b""))
    sent, octets = offer.first(17), offer.octets
    covered = (octets[: sent.sealed_end], octets[sent.end : -mac_len], offer.id(1), offer.id(2))
    v = mac(number, keys[1], *covered)
    assert sent.sealed == ticket.sealed and v == octets[-mac_len:]
    assert offer.first(21) == (1, b"mikey") and offer.first(10) == (1, 241, b"")
    assert offer.sessions == [(1, 241, 0, b"\x01", tgk[2])]
    if fork:
        alg = bytes([SUITE[number][3]])
        data = sent.initiator_data
        assert data[:-mac_len] == b"\x09\x09" + alg + v + b"\x00" + alg
        vr = protection(number, mpkr, b"\xff" + NO_CSB + b"\x04")[1]
        assert mac(number, vr, data[:-mac_len]) == data[-mac_len:]
    else:
        assert sent.initiator_data == b""

    # Resolve (4.2.3).
    rand_r = question.rand(2)
    keys = protection(number, run["bob"], question.label(1, b"", rand_r))
    assert proven(question, keys, question.id(2), question.id(3))
    asked = question.first(17)
    assert (asked.sealed, asked.initiator_data) == (sent.sealed, sent.initiator_data)
    keys = protection(number, run["bob"], question.label(2, b"", rand_r))
    assert resolved.csb == question.csb and proven(resolved, keys, question.octets)
    got = open_kemac(number, keys, resolved.csb, resolved.first(5), resolved.first(1))
    assert got[0][1] == mpki and got[-1][2] == tgk[2]
    protect, base = mpki, tgk[1]
    if fork:
        # 5.1.1
        name, rand_kms = resolved.id(2), resolved.rand(3)
        label = b"\xff" + NO_CSB + b"\x00" + struct.pack(">H", len(name)) + name + lv(rand_kms)
        protect = prf(number, mpkr, WORD["mpkr'"] + label, len(mpkr))
        base = prf(number, tgk[1], WORD["tgk'"] + label, len(tgk[1]))
        assert got[1][1] == protect
        assert (answer.id(2), answer.rand(3)) == (name, rand_kms)
    assert got[-1][1] == base

    # The answer and the key (4.2.2.3, 5.1.3).
    rand_r = answer.rand(2)
    keys = protection(number, protect, offer.label(2, rand_i, rand_r))
    assert answer.csb == offer.csb and proven(answer, keys, offer.octets)
    assert answer.sessions == [(1, 241, 0, b"\x01", tgk[2])]
    label = WORD["tek"] + b"\x01" + NO_CSB + b"\x03" + lv(rand_i) + lv(rand_r)
    assert prf(number, base, label, len(run["tek"])) == run["tek"]


if __name__ == "__main__":
    runs = {}
    for line in sys.stdin:
        run, name, value = line.split()
        runs.setdefault(run, {})[name] = bytes.fromhex(value)
    for run in runs.values():
        check(run)
    print(f"{len(runs)} agreed")
