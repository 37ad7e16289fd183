#!/usr/bin/env python3
"""What a packet of a connection costs on its way through a host, by the rules that it passes there.

    python3 benches/packet/packet.py [--rounds N] [--packets N] [--only NAME,NAME] [NAME=carnet-bench-relay ...]     # as root

A client, a server, and for each set of rules a host between them, network namespaces all. Each turn a connection is made
through every host, in random order, and an acknowledgement of it sent again and again from a packet socket; the server drops the copies
when they come. What counts is processor time of who sends, in whose turn the kernel forwards them, and of the kernel's packet threads, and of
all turns the first quartile. `route` only routes; the others are told as nanoseconds beyond that.

`translated` is translation written by hand; those that begin with `+` have something more each. With NAME=PROGRAM the kernel engine of a
`carnet-bench-relay` makes its own table, so that two builds can be compared.
"""

import argparse
import contextlib
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import time

TAG = f"pkt{os.getpid() % 100000}"
FIRST, PORTS, SERVER = 8000, 400, 7000
DSCP = 2  # of the copies, so that the server drops them and nothing else

SETS = """
 set steer4 { type ipv4_addr . inet_service; }
 set steer6 { type ipv6_addr . inet_service; }
""" + "".join(
    f" set {name}{n} {{ type ipv{n}_addr . ipv{n}_addr . inet_service; }}\n" for n in (4, 6) for name in ("carry", "held", "shut", "over")
)


def ip_of(n):
    return "ip" if n == 4 else "ip6"


def session(n):
    return f"ct original {ip_of(n)} saddr . ct original {ip_of(n)} daddr . ct original proto-dst"


def both(rule):
    return "\n".join(f"meta nfproto ipv{n} meta l4proto tcp {rule(n)}" for n in (4, 6))


def chain(name, hook, priority, rules):
    return f" chain {name} {{ type filter hook {hook} priority {priority}; policy accept;\n{rules}\n }}\n"


def steer(*flags, first=()):
    lines = [both(lambda n, f=f: f"@th,104,8 & 0x17 == {f} {ip_of(n)} daddr . tcp dport @steer{n} accept") for f in flags]
    return chain("steer", "prerouting", -99, "\n".join([*first, *lines]))


BEGINS = both(lambda n: f"@th,104,8 & 0x2 != 0 {session(n)} @carry{n} tcp option maxseg size set rt mtu")
ENDS = "\n".join(both(lambda n, w=w: f"@th,104,8 & {w} {session(n)} @carry{n} log group 30000") for w in ("0x12 == 0x12", "0x5 != 0"))
SHORT = (
    f" chain begins {{\n{BEGINS}\n }}\n chain ends {{\n{ENDS}\n }}\n"
    + chain("fit", "forward", -150, "meta l4proto tcp @th,96,32 & 0x00020000 != 0 jump begins")
)
LOOK = "meta l4proto tcp @th,96,32 & 0x00070000 != 0 jump ends"
HELD = both(lambda n: f"{session(n)} @held{n} drop")
ALL = HELD + "\n" + "\n".join(
    both(lambda n, d=d, s=s: f"ct direction {d} {session(n)} @{s}{n} drop") for d in ("original", "reply") for s in ("shut", "over", "carry")
)

LED_ON = "ct status & (snat | dnat) == (snat | dnat) accept"

MORE = {
    "+ a rule for each thing": steer("0x2", "0x10", "0x10") + chain("fit", "forward", -150, BEGINS) + chain("watch", "postrouting", 101, ENDS),
    "+ an empty chain": chain("fit", "forward", -150, ""),
    "+ flags in two rules": chain("fit", "forward", -150, BEGINS),
    "+ flags in one comparison": f" chain begins {{\n{BEGINS}\n }}\n" + chain("fit", "forward", -150, LOOK.replace("ends", "begins")),
    "+ steered": steer("0x10", "0x2"),
    "+ table": SHORT + chain("watch", "postrouting", 101, LOOK),
    "+ table and what is steered": SHORT + chain("watch", "postrouting", 101, LOOK) + steer("0x10", "0x2", first=[LED_ON]),
    "+ table and what is held": SHORT + chain("watch", "postrouting", 101, HELD + "\n" + LOOK),
    "+ table and all terms": SHORT + chain("watch", "postrouting", 101, ALL + "\n" + LOOK),
}


class Place:
    """One host between client and server."""

    def __init__(self, index, name, program):
        self.index, self.name, self.program = index, name, program
        self.host, self.device = f"{TAG}-{index}", f"e{index}"
        self.near, self.client = f"10.66.{index + 1}.1", f"10.66.{index + 1}.2"
        self.far, self.server = f"10.66.{index + 101}.1", f"10.66.{index + 101}.2"
        self.door = 0

    def target(self):
        if self.name == "route":
            return self.server, SERVER
        # Another port each time: what ended is armed again meanwhile.
        self.door = (self.door + 1) % PORTS
        return self.near, FIRST + self.door

    def lay_out(self, stack):
        run("ip", "netns", "add", self.host)
        stack.callback(subprocess.run, ["ip", "netns", "del", self.host], check=False)
        for side, device, mine, theirs in (("c", "c", self.near, self.client), ("s", "s", self.far, self.server)):
            other = f"{TAG}-{side}"
            run("ip", "-n", self.host, "link", "add", device, "type", "veth", "peer", "name", self.device, "netns", other)
            run("ip", "-n", self.host, "addr", "add", f"{mine}/24", "dev", device)
            run("ip", "-n", other, "addr", "add", f"{theirs}/24", "dev", self.device)
            run("ip", "-n", self.host, "link", "set", device, "up")
            run("ip", "-n", other, "link", "set", self.device, "up")
        run("ip", "-n", self.host, "link", "set", "lo", "up")
        self.set("net.ipv4.ip_forward=1")
        if self.name == "route":
            run("ip", "-n", f"{TAG}-c", "route", "add", f"10.66.{self.index + 101}.0/24", "via", self.near)
            run("ip", "-n", f"{TAG}-s", "route", "add", f"10.66.{self.index + 1}.0/24", "via", self.far)
            return
        # The copies have no checksum of TCP, as packets between namespaces have none.
        self.set("net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_checksum=0")
        if self.program:
            words = [self.program, "engine", self.near, self.far, str(FIRST), str(PORTS), f"{self.server}:{SERVER}", "1"]
            engine = subprocess.Popen(inside(self.host) + words + ["carnet-kernel", self.client], stdout=subprocess.PIPE, text=True)
            stack.callback(engine.wait)
            stack.callback(engine.kill)
            said = engine.stdout.readline()
            if said != "ready\n":
                sys.exit(f"{self.name}: {said}")
        else:
            run(*inside(self.host), "nft", "-f", "-", feed=self.rules())

    def set(self, *settings):
        run(*inside(self.host), "sysctl", "-qw", *settings)

    def rules(self):
        doors = ", ".join(f"{self.near} . {port} : {self.server} . {SERVER}" for port in range(FIRST, FIRST + PORTS))
        return (
            "table ip translated {\n map to { type ipv4_addr . inet_service : ipv4_addr . inet_service\n"
            f" elements = {{ {doors} }}; }}\n"
            " chain in { type nat hook prerouting priority dstnat;\n dnat ip to ip daddr . tcp dport map @to;\n }\n"
            f' chain out {{ type nat hook postrouting priority srcnat;\n oifname "s" snat ip to {self.far};\n }}\n}}\n'
            f"table inet more {{\n{SETS}{MORE.get(self.name, '')}}}\n"
        )

    def turn(self, packets):
        address, port = self.target()
        words = [sys.executable, os.path.abspath(__file__), "send", address, str(port), self.device, str(packets)]
        return float(run(*inside(f"{TAG}-c"), *words))


def run(*words, feed=None):
    done = subprocess.run(words, input=feed, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def inside(host):
    return ["ip", "netns", "exec", host]


def packet_threads():
    """Where the kernel says how long its packet threads were on a processor."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().startswith("ksoftirqd"):
                found.append(folder / "schedstat")
    return found


def send(address, port, device, packets):
    """Nanoseconds a copy of an acknowledgement of ours."""
    packets = int(packets)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as heard:
        heard.bind((device, 3))
        with socket.create_connection((address, int(port)), timeout=20):
            frame, until = None, time.monotonic() + 20
            heard.settimeout(1)
            while frame is None and time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    octets, (_, _, kind, _, _) = heard.recvfrom(2048)
                    outgoing = kind == socket.PACKET_OUTGOING and octets[12:14] == b"\x08\0"
                    if outgoing and octets[23] == 6 and octets[47] == 0x10:
                        frame = bytearray(octets)
            frame[15] = DSCP << 2
            frame[24:26] = b"\0\0"
            total = sum(int.from_bytes(frame[at : at + 2]) for at in range(14, 34, 2))
            total = (total & 0xFFFF) + (total >> 16)
            frame[24:26] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
                raw.bind((device, 0))
                copy, out, threads = bytes(frame), raw.send, packet_threads()
                before = [int(thread.read_text().split()[0]) for thread in threads]
                begun = time.thread_time_ns()
                for _ in range(packets):
                    out(copy)
                used = time.thread_time_ns() - begun
                after = [int(thread.read_text().split()[0]) for thread in threads]
                print((used + sum(after) - sum(before)) / packets)


def serve():
    """Takes connections; they end with those of the client."""
    listener = socket.create_server(("", SERVER), backlog=1024)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.settimeout(30)
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                pass
        connection.close()


def main():
    if sys.argv[1:2] == ["send"]:
        return send(*sys.argv[2:])
    if sys.argv[1:2] == ["serve"]:
        return serve()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--packets", type=int, default=20000)
    parser.add_argument("--only", help="of the sets of rules, by name")
    parser.add_argument("programs", nargs="*", metavar="NAME=PROGRAM")
    options = parser.parse_args()
    programs = dict(words.split("=", 1) for words in options.programs)
    wanted = options.only.split(",") if options.only is not None else list(MORE)
    if unknown := [name for name in wanted if name and name not in MORE]:
        sys.exit(f"no such rules: {', '.join(unknown)}; there are: {', '.join(MORE)}")
    names = ["route", "translated", *filter(None, wanted), *programs]
    with contextlib.ExitStack() as stack:
        for host in (f"{TAG}-c", f"{TAG}-s"):
            run("ip", "netns", "add", host)
            stack.callback(subprocess.run, ["ip", "netns", "del", host], check=False)
            run("ip", "-n", host, "link", "set", "lo", "up")
        server = subprocess.Popen(
            inside(f"{TAG}-s") + [sys.executable, os.path.abspath(__file__), "serve"], stdout=subprocess.PIPE, text=True
        )
        stack.callback(server.wait)
        stack.callback(server.kill)
        server.stdout.readline()
        places = [Place(index, name, programs.get(name)) for index, name in enumerate(names)]
        for place in places:
            place.lay_out(stack)
        hooks = "".join(
            f' chain {place.device} {{ type filter hook ingress device "{place.device}" priority 0; ip dscp {DSCP} counter drop\n }}\n'
            for place in places
        )
        run(*inside(f"{TAG}-s"), "nft", "-f", "-", feed=f"table netdev copies {{\n{hooks}}}\n")
        figures = {name: [] for name in names}
        for _ in range(options.rounds):
            for place in random.sample(places, len(places)):
                figures[place.name].append(place.turn(options.packets))
        # Without this a rule that keeps packets back would be the cheapest.
        listed = run(*inside(f"{TAG}-s"), "nft", "list", "table", "netdev", "copies")
        came = [int(line.split("packets ")[1].split()[0]) for line in listed.splitlines() if "packets " in line]
        if came != [options.rounds * options.packets] * len(places):
            sys.exit(f"not all copies came: {dict(zip(names, came))}")
        tell(figures)


def tell(figures):
    """What else the machine does only adds: three turns of four are as long as the first quartile, or longer."""
    quarter = {name: statistics.quantiles(values, n=4)[0] if len(values) > 1 else values[0] for name, values in figures.items()}
    route = quarter["route"]
    print(f"{'':28} {'ns':>6} {'least':>7} {'median':>7}  beside translated")
    print(f"{'route':28} {route:6.0f} {min(figures['route']):7.0f} {statistics.median(figures['route']):7.0f}")
    for name, values in figures.items():
        if name != "route":
            ratio = (quarter[name] - route) / (quarter["translated"] - route)
            least, median = min(values) - route, statistics.median(values) - route
            print(f"{name:28} {quarter[name] - route:6.0f} {least:7.0f} {median:7.0f}  {ratio:.2f}")


if __name__ == "__main__":
    main()
