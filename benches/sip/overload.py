#!/usr/bin/env python3
"""Calls that Carnet and Kamailio complete at their capacity and at twice of it.

usage: overload.py CARNET [SHARE] [SECONDS] [NAME]...

Each server is allowed SHARE of one processor (default 0.15, by a cgroup of its own: needs root), so that sipp can
offer far more than it can do, also on a busy machine. The capacity is the most calls a second that are completed
when the offered rate is raised step by step. Then twice that is offered. A call counts when the callee has seen
its end within the time in which calls are offered. Both rewrite SDP, see measure.py. The caller takes a 503 for an
answer: it acknowledges and goes away, and does not come again.
"""
import csv, os, pathlib, subprocess, sys, tempfile, time
from measure import NEAR, UAC, UAS, prepare

PERIOD = 10_000  # microseconds


def share_of(processor, name="carnet-bench"):
    """A cgroup with that share; the file to write process numbers into."""
    for root in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup"):
        group = pathlib.Path(root, name)
        try:
            group.mkdir(exist_ok=True)
            quota = int(processor * PERIOD)
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text(f"{quota} {PERIOD}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            return group / "cgroup.procs"
        except OSError as error:
            failed = error
    sys.exit(f"no cgroup for the processor's share: {failed}")


def patient(scenario):
    """The caller's scenario, with a way out for a 503."""
    text = scenario.read_text()
    text = text.replace("branch=[branch]", "branch=z9hG4bK-[pid]-[call_number]-invite", 1)
    text = text.replace('<recv response="100"', '<recv response="503" optional="true" next="1"/>\n  <recv response="100"', 1)
    gone = """<recv response="200" rtd="end" next="2"/>
  <label id="1"/>
  <send>
    <![CDATA[
ACK sip:bob@b.example SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-invite
Max-Forwards: 70
From: "Alice" <sip:alice@a.example>;tag=[pid]c[call_number]
To: <sip:bob@b.example>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]>
  </send>
  <label id="2"/>"""
    return text.replace('<recv response="200" rtd="end"/>', gone)


def offer(server, scenario, rate, seconds, processor, directory):
    """Calls completed a second, and those the caller says failed."""
    process = subprocess.Popen(server, cwd=directory, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    group = share_of(processor)
    for task in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(task.read_text().rsplit(")", 1)[1].split()[2]) == process.pid:
                group.write_text(task.parent.name)
        except OSError:
            continue
    quiet = {"cwd": directory, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common = ["-nostdin", "-t", "u1", "-l", "1000000", "-trace_stat", "-fd", "1"]
    uas = subprocess.Popen(["sipp", "-sf", f"{scenario}-callee.xml", "-i", UAS, "-p", "5060", *common, "-stf", "uas.csv"], **quiet)
    time.sleep(0.5)
    calls = int(rate * seconds)
    uac = subprocess.Popen(["sipp", "-sf", f"{scenario}-patient.xml", f"{NEAR}:5060", "-i", UAC, "-p", "5060", "-r", str(rate), "-m", str(calls),
                            *common, "-stf", "uac.csv"], **quiet)
    time.sleep(seconds + 1)
    for one in (uac, uas):
        one.kill()
        one.wait()
    os.killpg(process.pid, 9)
    process.wait()
    last = lambda name: list(csv.DictReader(pathlib.Path(directory, name).open(), delimiter=";"))[-1]
    time.sleep(0.5)
    return int(last("uas.csv")["SuccessfulCall(C)"]) / seconds, int(last("uac.csv")["FailedCall(C)"]), int(last("uac.csv")["Retransmissions(C)"])


def main():
    carnet = str(pathlib.Path(sys.argv[1]).resolve())
    processor, seconds = (float(sys.argv[i]) if len(sys.argv) > i else d for i, d in ((2, 0.15), (3, 8)))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory)
        cases = prepare(carnet, path)
        (path / "anchored-patient.xml").write_text(patient(path / "anchored-caller.xml"))
        only = sys.argv[4:] or ["Kamailio, SDP rewritten", "Carnet"]
        for name in only:
            server, scenario = cases[name]
            capacity, rate = 0, 1000 * processor
            while True:
                done, failed, again = offer(server, scenario, rate, seconds, processor, directory)
                print(f"{name:24} offered {rate:6.0f}/s  completed {done:6.0f}/s  failed {failed}  retransmissions {again}", flush=True)
                capacity = max(capacity, done)
                if done < 0.75 * rate:
                    break
                rate *= 1.3
            done, failed, again = offer(server, scenario, 2 * capacity, seconds, processor, directory)
            print(f"{name:24} capacity {capacity:5.0f}/s, at twice of it {done:6.0f}/s: {done / capacity:.2f}  failed {failed}  retransmissions {again}", flush=True)


if __name__ == "__main__":
    main()
