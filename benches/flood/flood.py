"""Sessions a second that a border and its gateway set up, without and under floods, in one run.

    python3 benches/flood/flood.py CARNET [--rounds N] [--calls N] [--at-once N]       # as root

The subscribers and the one who floods are those of tests/access/hostile. Every flood has its turn in each round,
next to a turn without one; what is printed is the median of the rounds' ratios.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HOSTILE = pathlib.Path(__file__).resolve().parents[2] / "tests/access/hostile"
BORDER, GATEWAY, ALICE, BOB, MALLORY = "192.0.2.1", "192.0.2.2", "192.0.2.11", "192.0.2.12", "192.0.2.66"
PORTS = "12000-12999"
FLOODS = ["syn", "accept", "hold", "scan", "http"]

OPERATOR = f"""
[border.alg]
role = "ims-alg"
domain = "a.example"
control = {{ gateways = ["agw"] }}
registrar = {{ mode = "built-in", users = "users.toml" }}

[border.alg.network.access]
subscribers = true
listen = ["udp:{BORDER}:5060", "tcp:{BORDER}:5060"]

[gateway.agw]
role = "ims-agw"
controllers = ["local:alg"]

[gateway.agw.realm.access]
v4 = "{GATEWAY}"
ports = "{PORTS}"
tls-only = true
"""


class Lab:
    def __init__(self, directory):
        self.directory, self.tag, self.running = directory, f"fl{os.getpid() & 0xffff:x}", []
        self.ip("netns", "add", self.host("net"))
        self.ip("-n", self.host("net"), "link", "add", "br0", "type", "bridge")
        self.ip("-n", self.host("net"), "link", "set", "br0", "up")
        for number, (host, addresses) in enumerate(
                {"operator": [BORDER, GATEWAY], "people": [ALICE, BOB], "mallory": [MALLORY]}.items()):
            space = self.host(host)
            self.ip("netns", "add", space)
            self.ip("-n", self.host("net"), "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0",
                    "netns", space)
            self.ip("-n", self.host("net"), "link", "set", f"p{number}", "master", "br0", "up")
            self.ip("-n", space, "link", "set", "lo", "up")
            self.ip("-n", space, "link", "set", "eth0", "up")
            for address in addresses:
                self.ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        self.ip("-n", self.host("operator"), "route", "add", "198.18.0.0/15", "via", MALLORY)

    def host(self, name):
        return f"{self.tag}{name}"

    def ip(self, *arguments):
        subprocess.run(["ip", *arguments], check=True)

    def start(self, host, *command, out=subprocess.DEVNULL):
        process = subprocess.Popen(["ip", "netns", "exec", self.host(host), *command], cwd=self.directory,
                                   stdout=out, stderr=subprocess.DEVNULL, text=True)
        self.running.append(process)
        return process

    def end(self):
        for process in self.running:
            process.kill()
            process.wait()
        for name in ("operator", "people", "mallory", "net"):
            subprocess.run(["ip", "netns", "del", self.host(name)])


def people(lab, calls, at_once):
    run = lab.start("people", "python3", str(HOSTILE / "people.py"), BORDER, ALICE, BOB, str(calls), str(at_once),
                    "0", "10.9.9.9", out=subprocess.PIPE)
    said, _ = run.communicate(timeout=600)
    return json.loads(said)


def harm(lab, kind):
    run = lab.start("mallory", "python3", str(HOSTILE / "harm.py"), kind, GATEWAY, PORTS, out=subprocess.PIPE)
    while run.stdout.readline().strip() != "going":
        if run.poll() is not None:
            sys.exit(f"{kind} ended")
    return run


def cpu(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("carnet")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--calls", type=int, default=300)
    arguments.add_argument("--at-once", type=int, default=16)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "operator.toml").write_text(OPERATOR)
        (pathlib.Path(directory) / "users.toml").write_text("alice = \"alice's password\"\nbob = \"bob's password\"\n")
        lab = Lab(directory)
        try:
            operator = lab.start("operator", os.path.abspath(given.carnet), "run", "-c", "operator.toml")
            time.sleep(3)
            people(lab, 50, given.at_once)
            rows = {kind: [] for kind in FLOODS}
            for _ in range(given.rounds):
                for kind in FLOODS:
                    calm = people(lab, given.calls, given.at_once)
                    flood = harm(lab, kind)
                    counts, begun, used = [], time.monotonic(), cpu(operator)
                    under = people(lab, given.calls, given.at_once)
                    used, took = cpu(operator) - used, time.monotonic() - begun
                    flood.kill()
                    counts = [int(line) for line in flood.stdout.read().split() if line.isdigit()]
                    speed = (counts[-1] - counts[0]) / (0.5 * max(len(counts) - 1, 1)) if counts else 0
                    rows[kind].append((under["rate"] / calm["rate"], calm["rate"], under["rate"], under["failed"],
                                       under["slowest"], speed, used / took))
                    time.sleep(1)
            print("| flood | of it a second | sessions a second without | under it | ratio | failed | slowest, s "
                  "| CPU of the operator |\n|---|---|---|---|---|---|---|---|")
            for kind, results in rows.items():
                column = lambda index: statistics.median(row[index] for row in results)
                print(f"| {kind} | {column(5):.0f} | {column(1):.0f} | {column(2):.0f} | **{column(0):.2f}** "
                      f"| {sum(row[3] for row in results)} | {max(row[4] for row in results):.1f} | {column(6):.2f} |")
        finally:
            lab.end()


main()
