"""People who mean harm ask Carnet, and people who do not, at the same time.

    python3 hostile.py SECTION 127.0.0.1,udp:PORT,tcp:PORT,http:PORT,tls:PORT,https:PORT
"""

import contextlib
import socket
import sys
import threading
import time

import ng

HOST = "127.0.0.1"
"""Where Carnet is."""

WORD = "open-sesame-and-more"


def neighbour(number):
    """An address beside it that is of this host too."""
    return f"{HOST.rsplit('.', 1)[0]}.{number}"


def check(what, holds, *seen):
    if not holds:
        raise AssertionError(f"{what}: {seen}")


def octets_of(connection):
    """All that comes until the other end closes; it has to."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            got += more
    return got


def connect(port, source, patience=ng.PATIENCE):
    return socket.create_connection((HOST, port), timeout=patience, source_address=(source, 0))


def served(ports, source):
    """Somebody from elsewhere asks as a SIP server does, again when no answer comes."""
    client = ng.Udp(HOST, ports.udp, source=source, patience=0.5)
    asked = ng.cookie().encode() + b" d7:command4:pinge"
    until = time.monotonic() + ng.PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            if client.exchange(asked) == asked.split()[0] + b" d6:result4:ponge":
                return True
    return False


def strangers(ports):
    """The peers are 127.0.0.2 alone; nobody else gets an octet on any transport."""
    asked = [b"c%d d7:command4:pinge" % n for n in range(50)]
    asked += [b"x", b"c hello", b"c " + b"d" * 60_000, b"\0" * 1_000, b'c {"command":"list"}']
    stranger = ng.Udp(HOST, ports.udp, source=neighbour(3))
    for octets in asked:
        stranger.send(octets)
    check("UDP", stranger.silence(1.0))
    for name in ("tcp", "http", "tls", "https"):
        for octets in (b"c d7:command4:pinge", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05"):
            with contextlib.suppress(ConnectionError):
                connection = connect(getattr(ports, name), neighbour(3))
                connection.send(octets)
                check(name, octets_of(connection) == b"")
    check("the peer over UDP", served(ports, neighbour(2)))
    check("the peer over TCP", ng.Stream(HOST, ports.tcp, source=neighbour(2))("ping") == {"result": "pong"})
    tls = ng.Stream(HOST, ports.tls, tls=ng.trusting(), source=neighbour(2))
    check("the peer over TLS", tls("ping") == {"result": "pong"})


def flood(ports, source, messages, seconds):
    """Sends without end; the octets sent and received."""
    client = ng.Udp(HOST, ports.udp, source=source)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    client.socket.setblocking(False)
    sent = got = number = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(50):
            octets = messages(number)
            number += 1
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sent += client.socket.send(octets)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                got += len(client.socket.recv(65536))
    end = time.monotonic() + 2
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            got += len(client.socket.recv(65536))
            continue
        time.sleep(0.02)
    return sent, got


def floods(ports):
    """Others are served meanwhile, and nobody is sent much more than came in under its address."""
    # Calls, so that answers are long.
    setter = ng.Udp(HOST, ports.udp, source=neighbour(2))
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=message 4000 TCP/MSRP *\r\na=path:msrp://127.0.0.1:4000/s;tcp\r\na=setup:actpass\r\na=msrp-cema\r\n"
    )
    for number in range(30):
        offered = setter("offer", call_id=f"a-call-with-a-long-name-{number:04}", from_tag="a", sdp=sdp)
        check("a call", offered["result"] == "ok", offered)

    kinds = {
        "list": lambda n: b"%d d7:command4:liste" % n,
        "the same list": lambda n: b"1 d7:command4:liste",
        "statistics": lambda n: b"%d d7:command10:statisticse" % n,
        "query": lambda n: b"%d d7:call-id28:a-call-with-a-long-name-00017:command5:querye" % n,
        "nonsense": lambda n: b"%d hello" % n,
        "no cookie": lambda n: b"x" * (n % 1000),
    }
    for number, (name, messages) in enumerate(kinds.items()):
        results = []
        source = neighbour(20 + number)
        attack = threading.Thread(target=lambda: results.append(flood(ports, source, messages, 2)))
        attack.start()
        check(f"others are served during {name}", served(ports, neighbour(2)))
        attack.join()
        sent, got = results[0]
        print(f"{name}: {sent} octets sent, {got} received")
        check(f"{name} is no amplifier", got <= 3 * sent + 300_000, sent, got)
    for number in range(30):
        setter("delete", call_id=f"a-call-with-a-long-name-{number:04}", **{"delete delay": 0})
    check("the end", setter("list")["calls"] == [])


def refused(what, ask):
    """No answer that would be of use comes: an error or an end."""
    try:
        answer = ask()
    except (EOFError, ConnectionError, ng.Malformed) as e:
        return str(e)
    check(what, answer.get("result") == "error" and WORD not in str(answer), answer)
    return answer["error-reason"]


def token(ports):
    """A word is needed everywhere but over UDP."""
    tls = ng.trusting()
    check("UDP needs none", served(ports, HOST))
    ping = {"command": "ping"}
    for word in (None, "open-sesam", "open-sesame-and-more ", "", "x" * 10_000):
        more = {} if word is None else {"token": word}
        for name, way in {
            "TCP": lambda: ng.Stream(HOST, ports.tcp),
            "TLS": lambda: ng.Stream(HOST, ports.tls, tls=tls),
        }.items():
            refused(f"{name} with {word!r}", lambda way=way: way().ask({**ping, **more}))
        if word == "open-sesame-and-more ":
            continue  # Blanks around a header field mean nothing.
        for name, way in {
            "HTTP": lambda: ng.Http(HOST, ports.http, token=word),
            "HTTPS": lambda: ng.Http(HOST, ports.https, tls=tls, token=word),
            "/ng-plain": lambda: ng.Http(HOST, ports.http, token=word, plain=True),
            "WebSocket": lambda: ng.WebSocket(HOST, ports.http, token=word),
            "WebSocket in TLS": lambda: ng.WebSocket(HOST, ports.https, tls=tls, token=word),
        }.items():
            refused(f"{name} with {word!r}", lambda way=way: way().ask(ping))
    status, _ = ng.Http(HOST, ports.http, token="wrong").post("/ng", b"c d7:command4:pinge")
    check("the status of a wrong word", status == 401, status)
    pong = {"result": "pong"}
    check("TCP", ng.Stream(HOST, ports.tcp).ask({**ping, "token": WORD}) == pong)
    check("TLS", ng.Stream(HOST, ports.tls, tls=tls).ask({**ping, "token": WORD}) == pong)
    check("HTTP", ng.Http(HOST, ports.http, token=WORD).ask(ping) == pong)
    check("HTTPS", ng.Http(HOST, ports.https, tls=tls, token=WORD).ask(ping) == pong)
    check("WebSocket", ng.WebSocket(HOST, ports.http, token=WORD).ask(ping) == pong)
    check("WebSocket in TLS", ng.WebSocket(HOST, ports.https, tls=tls, token=WORD).ask(ping) == pong)


def slow(ports):
    """Connections that do nothing, half messages, too much, and no reading."""
    held = []
    for name in ("tcp", "http", "tls", "https"):
        for number in range(150):
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection = connect(getattr(ports, name), neighbour(4), patience=5)
                connection.send((b"", b"c d7:comm", b"POST /ng HTTP/1.1\r\nX: ", b"\x16\x03\x01\x02\x00\x01")[number % 4])
                held.append(connection)

    def others():
        check("UDP", served(ports, neighbour(2)))
        check("TCP", ng.Stream(HOST, ports.tcp, source=neighbour(2))("ping") == {"result": "pong"})
        tls = ng.Stream(HOST, ports.tls, tls=ng.trusting(), source=neighbour(2))
        check("TLS", tls("ping") == {"result": "pong"})
        web = connect(ports.http, neighbour(2))
        web.send(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        check("HTTP", octets_of(web).startswith(b"HTTP/1.1 200"))

    others()
    # A reader who does not read: what is not taken is bounded, and nobody else waits.
    deaf = connect(ports.tcp, neighbour(5))
    deaf.settimeout(2)
    pushed = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        for number in range(400_000):
            pushed += deaf.send(b"%d d7:command10:statisticse" % number)
    print(f"{pushed} octets taken of one who does not read")
    others()
    # Too long, and not what it says it is: the connection ends.
    for octets in (b"c d7:command99999999:", b"c " + b"l" * 100_000, b"no message at all, and it does not end" * 4_000):
        for port in (ports.tcp,):
            connection = connect(port, neighbour(6))
            with contextlib.suppress(ConnectionError):
                connection.sendall(octets)
                octets_of(connection)
    web = ng.WebSocket(HOST, ports.http)
    web.frame(b"\xff" * 70_000, opcode=2)
    with contextlib.suppress(EOFError, ConnectionError, ng.Malformed, ValueError):
        answer = ng.decode(web.receive().partition(b" ")[2])
        check("nonsense over WebSocket", answer["result"] == "error", answer)
    others()


def main():
    section, at = sys.argv[1:]
    global HOST
    ports = ng.Ports(at)
    HOST = ports.host
    {"strangers": strangers, "floods": floods, "token": token, "slow": slow}[section](ports)


if __name__ == "__main__":
    main()
