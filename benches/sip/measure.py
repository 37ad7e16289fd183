#!/usr/bin/env python3
"""CPU per call of a Carnet border beside Kamailio, driven by sipp on loopback, in turns.

usage: measure.py CARNET [CALLS] [RATE] [ROUNDS]

The calls are those of the end-to-end tests: INVITE, 180, 200, ACK, BYE, 200 with MSRP in TLS. Kamailio (tm
and rr, one worker) passes them on; once more it also rewrites address and port in the SDP of both directions, to
what is written in its script (textops), which makes it the peer that the ratio is to. Carnet also reserves,
rewrites, opens and releases a context on its gateway for each call, in the same process. CPU is user and
system time of the process and its children; calls that fail are shown. Needs sipp and kamailio in PATH.
"""
import os, pathlib, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).parent
SCENARIOS = HERE / "../../tests/e2e/sipp"
NEAR, FAR, UAC, UAS = "127.0.60.1", "127.0.61.1", "127.0.60.9", "127.0.61.9"
# Where media is sent: to the gateway as caller and callee see it.
INNER, OUTER = "127.0.60.2", "127.0.61.2"

CARNET = f"""
[log]
level = "error"
[border.ibcf]
role = "ibcf"
domain = "b.example"
control = {{ gateways = ["trgw"] }}
policy = {{ max-calls = 20000 }}
[border.ibcf.network.peers]
listen = ["udp:{NEAR}:5060"]
[border.ibcf.network.core]
listen = ["udp:{FAR}:5060"]
[[border.ibcf.route]]
domain = "*"
network = "core"
next-hop = "sip:{UAS}:5060"
[gateway.trgw]
role = "trgw"
controllers = ["local:ibcf"]
max-contexts = 20000
[gateway.trgw.realm.peers]
v4 = "{INNER}"
ports = "20000-39999"
[gateway.trgw.realm.core]
v4 = "{OUTER}"
ports = "20000-39999"
"""

KAMAILIO = f"""
children=1
debug=-1
log_stderror=no
disable_tcp=yes
listen=udp:{NEAR}:5060
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
request_route {{
    if (has_totag()) {{ loose_route(); t_relay(); exit; }}
    if (is_method("INVITE")) record_route();
    #REQUEST
    $du = "sip:{UAS}:5060";
    t_relay();
}}
"""


def rewrite(address, port):
    """What makes Kamailio put an address and a port into a session description."""
    return f"""
    if (has_body("application/sdp")) {{
        subst_body('/c=IN IP4 [0-9.]+/c=IN IP4 {address}/');
        subst_body('/m=message [0-9]+ /m=message {port} /');
    }}"""


REWRITING = (KAMAILIO.replace("#REQUEST", 't_on_reply("ANSWER");' + rewrite(OUTER, 20002))
             + f"onreply_route[ANSWER] {{{rewrite(INNER, 20002)}\n}}\n")


def cpu(group):
    """CPU seconds of all processes of a process group."""
    ticks = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def prepare(carnet, path):
    """Writes configurations and scenarios; for each case its command and the name of its scenarios."""
    (path / "carnet.toml").write_text(CARNET)
    (path / "relaying.cfg").write_text("#!KAMAILIO\n" + KAMAILIO)
    (path / "rewriting.cfg").write_text("#!KAMAILIO\n" + REWRITING)
    for name, near, far in (("anchored", INNER, OUTER), ("relayed", UAS, UAC)):
        for end, address in (("caller", near), ("callee", far)):
            text = (SCENARIOS / f"{end}.xml").read_text().replace("@GATEWAY@", address)
            (path / f"{name}-{end}.xml").write_text(text)
    kamailio = lambda name: ["kamailio", "-DD", "-E", "-f", f"{name}.cfg"]
    return {
        "Kamailio, SDP rewritten": (kamailio("rewriting"), "anchored"),
        "Kamailio": (kamailio("relaying"), "relayed"),
        "Carnet": ([carnet, "run", "-c", "carnet.toml"], "anchored"),
    }


def drive(server, scenario, calls, rate, directory):
    """CPU microseconds a call, and failed calls."""
    process = subprocess.Popen(server, cwd=directory, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    common = ["-m", str(calls), "-nostdin", "-t", "u1"]
    uas = subprocess.Popen(["sipp", *scenario[1], "-i", UAS, "-p", "5060", *common], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    before = cpu(process.pid)
    uac = subprocess.run(["sipp", *scenario[0], f"{NEAR}:5060", "-i", UAC, "-p", "5060", "-r", str(rate), *common, "-timeout", "90",
                          "-trace_stat", "-stf", "uac.csv", "-fd", "1"], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = cpu(process.pid) - before
    uas.kill()
    os.killpg(process.pid, 9)
    process.wait()
    lines = pathlib.Path(directory, "uac.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(";"), lines[-1].split(";")))
    good = int(last["SuccessfulCall(C)"])
    time.sleep(0.5)
    return (used / max(good, 1) * 1e6, calls - good)


def main():
    carnet = str(pathlib.Path(sys.argv[1]).resolve())
    calls, rate, rounds = (int(sys.argv[i]) if len(sys.argv) > i else d for i, d in ((2, 5000), (3, 500), (4, 3)))
    with tempfile.TemporaryDirectory() as directory:
        cases = prepare(carnet, pathlib.Path(directory))
        seen = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (server, scenario) in cases.items():
                ends = [["-sf", f"{scenario}-{end}.xml"] for end in ("caller", "callee")]
                seen[name].append(drive(server, ends, calls, rate, directory))
        peer = [micros for micros, _ in next(iter(seen.values()))]
        for name, figures in seen.items():
            ratio = statistics.median(f[0] / p for f, p in zip(figures, peer))
            median = statistics.median(f[0] for f in figures)
            print(f"{name:24} {median:7.0f} us a call   ratio {ratio:.2f}   failed {sum(f[1] for f in figures)} of {calls * rounds}")


if __name__ == "__main__":
    main()
