#!/usr/bin/env python3
"""What a media server that Kamailio asks adds to the time from INVITE to 200, driven by sipp on loopback, in turns.

usage: setup.py CARNET [CALLS] [RATE] [ROUNDS]

Descriptions have a line of audio and one of MSRP. Cases: nobody is asked; rtpengine for the audio; Carnet for the
MSRP; both, one after the other. Kamailio (tm, rr, rtpengine; one worker) asks for the INVITE and for the 200, and
deletes at BYE. Times are those of the packets at the caller's socket, since sipp's clock is too coarse. Needs
kamailio, rtpengine, sipp, tcpdump and tshark in PATH, and root.
"""
import os, pathlib, signal, statistics, subprocess, sys, tempfile, time

PROXY, UAC, UAS = "127.0.62.1", "127.0.62.9", "127.0.63.9"

CARNET = """
[log]
level = "error"
[gateway.media]
role = "ims-agw"
[gateway.media.realm.here]
v4 = "127.0.62.2"
ports = "20000-39999"
[gateway.media.ng]
listen = ["udp:127.0.0.1:22224"]
"""

RTPENGINE = ["rtpengine", "--foreground", "--table=-1", "--log-level=2", "--log-stderr", "--config-file=none",
             "--interface=127.0.62.3", "--port-min=40000", "--port-max=59999", "--listen-ng=127.0.0.1:22223"]

KAMAILIO = f"""#!KAMAILIO
children=1
debug=-1
log_stderror=no
disable_tcp=yes
listen=udp:{PROXY}:5060
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "0 == udp:127.0.0.1:22223")
modparam("rtpengine", "rtpengine_sock", "1 == udp:127.0.0.1:22224")
modparam("rtpengine", "read_sdp_pv", "$avp(sdp)")
modparam("rtpengine", "write_sdp_pv", "$avp(sdp)")
request_route {{
    if (has_totag()) {{ loose_route(); if (is_method("BYE")) route(ENDED); t_relay(); exit; }}
    if (is_method("INVITE")) {{ record_route(); t_on_reply("ANSWER"); route(MEDIA); }}
    $du = "sip:{UAS}:5060";
    t_relay();
}}
onreply_route[ANSWER] {{ if (has_body("application/sdp")) route(MEDIA); }}
route[MEDIA] {{
    $avp(sdp) = $rb;
    #MEDIA
    set_body("$avp(sdp)", "application/sdp");
}}
route[ENDED] {{
    return;
    #ENDED
}}
"""

SDP = """v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 7078 RTP/AVP 8 0
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
m=message 2855 TCP/TLS/MSRP *
a=accept-types:text/plain
a=path:msrps://[local_ip]:2855/s;tcp
a=setup:{setup}
a=msrp-cema
"""

HEAD = """Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:alice@a.example>;tag=[pid]c[call_number]
To: <sip:bob@b.example>{peer}
Call-ID: [call_id]
CSeq: {cseq}
Contact: <sip:alice@[local_ip]:[local_port]>
"""


def send(text, more=""):
    return f"<send {more}><![CDATA[\n{text}\n]]></send>\n"


TOP = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n<scenario name="call">\n'
CALLER = (TOP + send("INVITE sip:bob@b.example SIP/2.0\n" + HEAD.format(peer="", cseq="1 INVITE")
    + "Content-Type: application/sdp\nContent-Length: [len]\n\n" + SDP.format(setup="actpass"), 'start_rtd="setup" retrans="2000"')
    + '<recv response="100" optional="true"/><recv response="200" rrs="true" rtd="setup"/>'
    + send("ACK [next_url] SIP/2.0\n[routes]\n" + HEAD.format(peer="[peer_tag_param]", cseq="1 ACK") + "Content-Length: 0\n")
    + '<pause milliseconds="50"/>'
    + send("BYE [next_url] SIP/2.0\n[routes]\n" + HEAD.format(peer="[peer_tag_param]", cseq="2 BYE") + "Content-Length: 0\n", 'retrans="2000"')
    + '<recv response="200"/></scenario>')

REPLY = """SIP/2.0 200 OK
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:bob@[local_ip]:[local_port]>
"""
CALLEE = (TOP + '<recv request="INVITE" rrs="true"/>'
    + send(REPLY.format(tag=";tag=[pid]s[call_number]") + "Content-Type: application/sdp\nContent-Length: [len]\n\n"
           + SDP.format(setup="active"), 'retrans="2000"')
    + '<recv request="ACK"/><recv request="BYE"/>' + send(REPLY.format(tag="") + "Content-Length: 0\n") + "</scenario>")


def script(sets):
    media = "".join(f'set_rtpengine_set("{s}"); if (!rtpengine_manage("trust-address ICE=remove")) exit;\n' for s in sets)
    ended = "".join(f'set_rtpengine_set("{s}"); rtpengine_delete("delete-delay=0");\n' for s in sets)
    return KAMAILIO.replace("#MEDIA", media).replace("return;\n    #ENDED", ended or "return;")


def start(command, directory):
    return subprocess.Popen(command, cwd=directory, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def drive(carnet, sets, calls, rate, directory):
    """Milliseconds from INVITE to 200 of each call, and how many failed."""
    pathlib.Path(directory, "kamailio.cfg").write_text(script(sets))
    servers = [start(RTPENGINE, directory)] if "0" in sets else []
    servers += [start([carnet, "run", "-c", "carnet.toml"], directory)] if "1" in sets else []
    time.sleep(1)
    servers.append(start(["kamailio", "-DD", "-E", "-f", "kamailio.cfg"], directory))
    time.sleep(1.5)
    common = ["-m", str(calls), "-nostdin", "-t", "u1"]
    callee = start(["sipp", "-sf", "callee.xml", "-i", UAS, "-p", "5060", *common], directory)
    time.sleep(0.5)
    capture = start(["tcpdump", "-i", "lo", "-U", "-B", "16384", "-w", "calls.pcap", f"udp and host {UAC}"], directory)
    time.sleep(2)
    subprocess.run(["sipp", "-sf", "caller.xml", f"{PROXY}:5060", "-i", UAC, "-p", "5060", "-r", str(rate), *common,
                    "-timeout", "120"], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    capture.send_signal(signal.SIGINT)
    capture.wait()
    callee.kill()
    for server in servers:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    fields = [a for f in ("frame.time_epoch", "sip.Call-ID", "sip.CSeq.method", "sip.Method", "sip.Status-Code") for a in ("-e", f)]
    packets = subprocess.run(["tshark", "-r", "calls.pcap", "-Y", "sip.CSeq.method == INVITE", "-T", "fields", "-E", "separator=;", *fields],
                             cwd=directory, capture_output=True, text=True).stdout
    asked, times = {}, []
    for line in packets.splitlines():
        at, call, _, method, status = line.split(";")
        if method == "INVITE":
            asked.setdefault(call, float(at))
        elif status == "200" and call in asked:
            times.append((float(at) - asked.pop(call)) * 1000)
    return sorted(times), calls - len(times)


def main():
    carnet = str(pathlib.Path(sys.argv[1]).resolve())
    calls, rate, rounds = (int(sys.argv[i]) if len(sys.argv) > i else d for i, d in ((2, 500), (3, 50), (4, 3)))
    cases = {"nobody is asked": "", "rtpengine for audio": "0", "Carnet for MSRP": "1", "both": "01"}
    seen = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as directory:
        for name, text in (("carnet.toml", CARNET), ("caller.xml", CALLER), ("callee.xml", CALLEE)):
            pathlib.Path(directory, name).write_text(text)
        for _ in range(rounds):
            for name, sets in cases.items():
                times, failed = drive(carnet, sets, calls, rate, directory)
                at = lambda share: times[min(len(times) - 1, int(len(times) * share))] if times else float("nan")
                seen[name].append((at(0.5), at(0.99), failed))
    for name, figures in seen.items():
        p50, p99 = (statistics.median(f[i] for f in figures) for i in (0, 1))
        print(f"{name:22} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   failed {sum(f[2] for f in figures)} of {calls * rounds}")


if __name__ == "__main__":
    main()
