"""The same requests to an rtpengine and to Carnet: do the answers have the same shape?

    python3 shape.py SECTION RTPENGINE CARNET

where both are `ADDRESS,udp:PORT,tcp:PORT,http:PORT`. The rtpengine is given audio, Carnet MSRP. Where Carnet
differs on purpose, ON_PURPOSE says so and why; any other difference, and one that is written there and
not seen, is a failure.
"""

import json
import sys

import ng

AUDIO = ("m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",) * 2
MSRP = tuple(
    "m=message {port} TCP/MSRP *\r\na=accept-types:text/plain\r\n"
    "a=path:msrp://{host}:{port}/s;tcp\r\na=msrp-cema\r\na=setup:" + setup + "\r\n"
    for setup in ("actpass", "active")
)


def description(lines, answers=False, host="127.0.0.1", port=4000):
    """An offer or an answer."""
    media = lines[answers].format(host=host, port=port)
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{media}"


class Server(ng.Ports):
    """One of the two."""

    def __init__(self, name, at, lines):
        super().__init__(at)
        self.name = name
        self.lines = lines
        self.ask = ng.Udp(self.host, self.udp)
        ng.wait(self.ask)

    def offer(self, call="c1", tag="a", **more):
        return self.ask("offer", call_id=call, from_tag=tag, sdp=description(self.lines), **more)

    def answer(self, call="c1", tag="a", to="b", **more):
        sdp = description(self.lines, True, port=4002)
        return self.ask("answer", call_id=call, from_tag=tag, to_tag=to, sdp=sdp, **more)


# What Carnet says besides in any answer.
BESIDES = {
    "carnet": "what became of each line, and why",
    "sip-code": "the SIP status that follows from an error",
    "sip-warning-code": "the code of a SIP Warning that does",
    "in dialogue with": "the tag of the other end",
    "stats_out": "what was sent, beside what was received",
    "message": "what is full, where the error has to be in rtpengine's words",
}

# What rtpengine says in any answer and Carnet does not.
LACKING = {
    "SSRC": "of RTP",
    "subscriptions": "newer than `in dialogue with`, which says the same of two",
    "subscribers": "the same",
    "last packet": "octets are counted, not when they came",
    "flags": "of RTP",
    "proxies": "requests are counted, not by who asks",
}

# Words that are true of RTP: lists of them are empty here.
EMPTY = ["flags"]

# By these words SIP servers go on to another node.
WORDS = ["Parallel session limit reached"]


def differences(theirs, ours, path):
    """What ours lacks, has more, or has of another type. Of words only those count that others go by."""
    if type(theirs) is not type(ours):
        return [f"{path}: {type(theirs).__name__} there, {type(ours).__name__} here"]
    if isinstance(theirs, dict):
        found = [f"{path}/{key}: only there" for key in theirs if key not in ours and key not in LACKING]
        found += [f"{path}/{key}: only here" for key in ours if key not in theirs and key not in BESIDES]
        for key in theirs:
            if key in ours:
                found += differences(theirs[key], ours[key], f"{path}/{key}")
        return found
    if isinstance(theirs, list):
        if not ours and path.rsplit("/", 1)[-1] in EMPTY:
            return []
        if not theirs or not ours:
            return [] if theirs == ours else [f"{path}: {len(theirs)} there, {len(ours)} here"]
        if isinstance(theirs[0], dict):
            return differences(theirs[0], ours[0], path)
        return []
    if (path.endswith(("/result", "/status")) or path.endswith("/error-reason") and theirs in WORDS) and theirs != ours:
        return [f"{path}: {theirs!r} there, {ours!r} here"]
    return []


class Report:
    """What was found in a section."""

    def __init__(self, section):
        self.found = []
        self.purpose = ON_PURPOSE.get(section, {})
        self.wrong = []

    def compare(self, name, theirs, ours):
        self.found += [(line, theirs, ours) for line in differences(theirs, ours, name)]

    def check(self, what, holds, *seen):
        if not holds:
            self.wrong.append(f"{what}: {seen}")

    def end(self):
        lines = [line for line, _, _ in self.found]
        for line, theirs, ours in self.found:
            if line not in self.purpose:
                self.wrong.append(f"{line}\n    there {json.dumps(theirs)}\n    here {json.dumps(ours)}")
        self.wrong += [f"not seen: {line}" for line in self.purpose if line not in lines]
        for line in self.wrong:
            print(line)
        print(f"{len(lines)} differences on purpose" if not self.wrong else f"{len(self.wrong)} wrong")
        return bool(self.wrong)


def refused(case, why):
    """Where rtpengine does as if nothing had been said, and Carnet refuses."""
    return {
        f"{case}/result: 'ok' there, 'error' here": why,
        f"{case}/error-reason: only here": why,
        f"{case}/sdp: only there": why,
    }


def told(case, why):
    """What rtpengine writes to its log, and Carnet says."""
    return {f"{case}/warning: only here": why, f"{case}/unknown: only here": why}


# What is done on purpose, by section, and why.
EVERYTHING = ("created", "created_us", "last signal", "tags", "totals")

ON_PURPOSE = {
    "calls": {
        "query after the offer/tags/<untagged 1>: only there": "who has not spoken has no tag",
        **{f"delete without tags/{key}: only here": "it tells what passed" for key in EVERYTHING},
    },
    "branches": {f"its end/{key}: only here": "it tells what passed" for key in EVERYTHING},
    "statistics": {
        **{
            f"statistics/statistics/currentstatistics/{key}: only here": "of Carnet's own"
            for key in ("dialogs", "contexts", "requests")
        },
        "statistics/statistics/controlstatistics/totalerrorcount: only here": "there for each proxy",
    },
    "malformed": {
        **{
            f"{case}/result: 'pong' there, 'error' here": "what is cut off or goes on is no message"
            for case in ("c4 d7:command4:ping", "c7 d7:command4:pingeXX")
        },
        **{
            f"{case}/error-reason: only here": "the same"
            for case in ("c4 d7:command4:ping", "c7 d7:command4:pingeXX")
        },
    },
    "http": {
        "GET /ng/status: '404' there, '405' here": "RFC 9110 §15.5.6",
        "POST /nowhere/status: 'closed' there, '404' here": "RFC 9110 §15.5.5",
        "another type/status: '404' there, '415' here": "RFC 9110 §15.5.16",
        "no cookie/status: '600' there, '400' here": "600 is no status of HTTP",
        "nothing/status: '600' there, '400' here": "the same",
        "JSON/status: '404' there, '200' here": "not in 10.5, but in newer versions",
        "half of JSON/status: '404' there, '400' here": "the same",
    },
    "errors": refused("an unknown interface", "the media would go into another network than the script says"),
    "flags": {
        **refused("an IP version that is not there", "the terminal could not reach the address"),
        **refused("a number for a text", "the script means something else than it says"),
        **told("a flag of nobody", "a flag that is misspelt is noticed"),
        **told("a key of nobody", "the same"),
    },
}


def errors(report, rtpengine, carnet):
    """Requests that cannot be done."""
    cases = [
        ("query of nobody's call", lambda s: s.ask("query", call_id="nobody")),
        ("delete of nobody's call", lambda s: s.ask("delete", call_id="nobody", from_tag="a")),
        ("the same, fatal", lambda s: s.ask("delete", call_id="nobody", from_tag="a", flags=["fatal"])),
        ("delete without call-id", lambda s: s.ask("delete", from_tag="a")),
        ("delete without from-tag", lambda s: s.ask("delete", call_id="nobody")),
        ("an unknown command", lambda s: s.ask("frobnicate", call_id="x")),
        ("no command", lambda s: s.ask.ask({"call-id": "x"})),
        ("offer without sdp", lambda s: s.ask("offer", call_id="c", from_tag="a")),
        ("offer without call-id", lambda s: s.ask("offer", from_tag="a", sdp=description(s.lines))),
        ("offer without from-tag", lambda s: s.ask("offer", call_id="c", sdp=description(s.lines))),
        ("offer of something else", lambda s: s.ask("offer", call_id="c", from_tag="a", sdp="hello")),
        ("answer in nobody's call", lambda s: s.answer("nobody")),
        (
            "answer without to-tag",
            lambda s: s.ask("answer", call_id="c", from_tag="a", sdp=description(s.lines, True)),
        ),
        ("an unknown interface", lambda s: s.offer("d", direction=["nowhere", "nowhere"])),
        ("media that plays", lambda s: s.ask("play media", call_id="nobody", from_tag="a", file="x.wav")),
    ]
    for name, case in cases:
        report.compare(name, case(rtpengine), case(carnet))


def calls(report, rtpengine, carnet):
    """A call from its offer to its end."""
    both = (rtpengine, carnet)

    def compare(name, ask):
        report.compare(name, *map(ask, both))

    compare("no calls", lambda s: s.ask("list"))
    compare("offer", lambda s: s.offer())
    compare("query after the offer", lambda s: s.ask("query", call_id="c1"))
    compare("answer", lambda s: s.answer())
    compare("query", lambda s: s.ask("query", call_id="c1"))
    compare("query of a tag", lambda s: s.ask("query", call_id="c1", from_tag="a"))
    compare("query of both tags", lambda s: s.ask("query", call_id="c1", from_tag="a", to_tag="b"))
    compare("query of no tag of it", lambda s: s.ask("query", call_id="c1", from_tag="z"))
    compare("list", lambda s: s.ask("list"))
    compare("second call", lambda s: s.offer("c2"))
    compare("list of one", lambda s: s.ask("list", limit=1))
    for server in both:
        report.check(f"{server.name} lists one", len(server.ask("list", limit=1)["calls"]) == 1)
        report.check(f"{server.name} lists both", sorted(server.ask("list")["calls"]) == ["c1", "c2"])
    compare("re-offer", lambda s: s.offer())
    compare("its answer", lambda s: s.answer())
    compare("delete", lambda s: s.ask("delete", call_id="c1", from_tag="a", **{"delete delay": 0}))
    compare("delete again", lambda s: s.ask("delete", call_id="c1", from_tag="a"))
    compare("query after the end", lambda s: s.ask("query", call_id="c1"))
    compare("delete without tags", lambda s: s.ask("delete", call_id="c2", **{"delete delay": 0}))
    compare("none left", lambda s: s.ask("list"))


def statistics(report, rtpengine, carnet):
    """Numbers for monitoring."""
    for server in (rtpengine, carnet):
        server.offer("s")
        server.answer("s")
        server.ask("delete", call_id="s", from_tag="a", **{"delete delay": 0})
        server.ask("query", call_id="s")
    theirs, ours = (server.ask("statistics") for server in (rtpengine, carnet))
    # Numbers of RTP are left out, what is there has rtpengine's name and type.
    report.compare("statistics", common(theirs, ours), ours)
    seen = ours["statistics"]
    for part, key, least in [
        ("currentstatistics", "sessionsown", 0),
        ("currentstatistics", "sessionstotal", 0),
        ("totalstatistics", "managedsessions", 1),
        ("totalstatistics", "regularterminatedsessions", 1),
        ("totalstatistics", "relayedbytes", 0),
        ("controlstatistics", "totaloffercount", 1),
        ("controlstatistics", "totalanswercount", 1),
        ("controlstatistics", "totaldeletecount", 1),
        ("controlstatistics", "totalquerycount", 1),
    ]:
        report.check(f"{key} of {part}", seen[part].get(key, -1) >= least, seen)
        report.check(f"rtpengine has {key} in {part}", key in theirs["statistics"][part])


def common(theirs, ours):
    """Theirs without the entries that ours has not."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {key: common(theirs[key], ours[key]) for key in theirs if key in ours}
    return theirs


def branches(report, rtpengine, carnet):
    """A forked INVITE: each branch by itself, and the call as a whole."""
    both = (rtpengine, carnet)

    def compare(name, ask):
        report.compare(name, *map(ask, both))

    def there(server, call):
        return server.ask("query", call_id=call)["result"] == "ok"

    now = {"delete delay": 0}
    compare("first branch", lambda s: s.offer("v", via_branch="v1"))
    compare("second branch", lambda s: s.offer("v", via_branch="v2"))
    compare("an answer", lambda s: s.answer("v", to="b2", via_branch="v2"))
    for server in both:
        server.ask("delete", call_id="v", from_tag="a", via_branch="v1", **now)
        report.check(f"{server.name}: the other branch stays", there(server, "v"))
        again = server.offer("v", to_tag="b2")
        report.check(f"{server.name}: its dialog goes on without via-branch", again["result"] == "ok", again)
        back = server.ask(
            "offer", call_id="v", from_tag="b2", to_tag="a", sdp=description(server.lines, port=4002)
        )
        report.check(f"{server.name}: from the other end too", back["result"] == "ok", back)
        server.ask("delete", call_id="v", **now)
        report.check(f"{server.name}: a delete of all", not there(server, "v"))

    # What OpenSIPS sends: no from-tag in a delete.
    compare("only branch", lambda s: s.offer("w", via_branch="br0"))
    compare("its end", lambda s: s.ask("delete", call_id="w", via_branch="br0", **now))
    for server in both:
        report.check(f"{server.name}: the last branch takes the call along", not there(server, "w"))

    compare("fork behind us", lambda s: s.offer("x"))
    compare("one answers", lambda s: s.answer("x", to="b1"))
    compare("another answers", lambda s: s.answer("x", to="b2"))
    for server in both:
        server.ask("delete", call_id="x", from_tag="a", to_tag="b1", **now)
        report.check(f"{server.name}: the other dialog stays", there(server, "x"))
        server.ask("delete", call_id="x", from_tag="a", **now)
        report.check(f"{server.name}: none is left", not there(server, "x"))


def flags(report, rtpengine, carnet):
    """What SIP servers send besides."""
    cases = {
        "Kamailio 5.6, rtpengine_manage": {
            "supports": ["load limit"],
            "ICE": "remove",
            "flags": ["loop-protect", "trust-address"],
            "replace": ["origin", "session-connection"],
            "transport-protocol": "RTP/AVP",
            "received-from": ["IP4", "127.0.0.1"],
        },
        "OpenSIPS 4.0, rtpengine_offer": {
            "replace": ["origin"],
            "ICE": "remove",
            "transport-protocol": "RTP/AVP",
            "flags": ["SIP-source-address"],
            "via-branch": "br0",
            "received-from": ["IP4", "127.0.0.1"],
        },
        "blanks between words": {"address family": "IP4", "received from": ["IP4", "127.0.0.1"], "TOS": 184},
        "an IP version that is not there": {"address family": "IP6"},
        "an address": {"media address": "192.0.2.77"},
        "a flag of nobody": {"flags": ["do-what-i-mean"]},
        "a key of nobody": {"what-i-mean": "this"},
        "a number for a text": {"via-branch": 5},
        "a text for a list": {"replace": "origin"},
    }
    asked(report, (rtpengine, carnet), cases)


def text(report, rtpengine, carnet):
    """All flags in one text, as newer Kamailios send them and rtpengine 10.5 does not know them yet."""
    cases = {
        "flags": "replace-origin loop-protect ICE=remove transport-protocol=RTP/AVP address-family=IP4 trust-address",
        "lists": "replace-origin codec=[transcode=[PCMA PCMU] strip=[EVS]] OSRTP=[accept] via-branch=b1",
    }
    for name, flags in cases.items():
        answer = carnet.offer(f"t{name}", rtpp_flags=flags)
        report.check(name, answer["result"] == "ok" and "o=- 1 1 IN IP4 127.0.0.1\r\n" in answer["sdp"], answer)
        report.check(f"{name}: nothing is unknown", "unknown" not in answer, answer)
    answer = carnet.offer("to", rtpp_flags="address-family=IP6")
    report.check("an IP version that is not there", answer["result"] == "error", answer)


def asked(report, both, cases):
    for number, (name, more) in enumerate(cases.items()):
        answers = []
        for server in both:
            answer = server.offer(f"k{number}", **more)
            sdp = answer.get("sdp", "")
            if "RTP/AVP" in str(more):
                report.check(f"{server.name}: o= in {name}", "o=- 1 1 IN IP4 127.0.0.1\r\n" in sdp, sdp)
            if "media address" in more:
                report.check(f"{server.name}: c= in {name}", "c=IN IP4 192.0.2.77\r\n" in sdp, sdp)
            answers.append(answer)
            server.ask("delete", call_id=f"k{number}", **{"delete delay": 0})
        report.compare(name, *answers)


def limits(report, rtpengine, carnet):
    """No room for another call. Who does not say that it knows `load limit` hears of an error, in the words
    by which OpenSIPS asks the next one of its set."""
    for server in (rtpengine, carnet):
        report.check(f"{server.name} takes one", server.offer("l1")["result"] == "ok")
    report.compare("one too many", *(server.offer("l2") for server in (rtpengine, carnet)))
    known = [server.offer("l2", supports=["load limit"]) for server in (rtpengine, carnet)]
    report.compare("one too many, load limit known", *known)
    report.check("load limit", known[1]["result"] == "load limit", known[1])
    for server in (rtpengine, carnet):
        report.check(f"{server.name}: a call that is goes on", server.answer("l1")["result"] == "ok")


def repeats(report, rtpengine, carnet):
    """The same cookie again is the same request again, whatever it holds."""
    for server in (rtpengine, carnet):
        offer = {"command": "offer", "call-id": "r1", "from-tag": "a", "sdp": description(server.lines)}
        asked = b"again_1 " + ng.encode(offer)
        first = server.ask.exchange(asked)
        report.check(f"{server.name}: the same octets", server.ask.exchange(asked) == first)
        other = server.ask.exchange(b"again_1 d7:command4:pinge")
        report.check(f"{server.name}: the cookie counts, not the content", other == first, other)
        again = server.ask.ask(offer)
        if server is carnet:
            # A new request, but the call has its ports already; rtpengine takes it for a change.
            report.check("the same description", again == ng.decode(first[8:]), again)
        other = server.ask.ask({**offer, "call-id": "r2"})["sdp"]
        report.check(f"{server.name}: another call has another port", other != again["sdp"], other)
        for call in ("r1", "r2"):
            server.ask("delete", call_id=call, **{"delete delay": 0})


def malformed(report, rtpengine, carnet):
    """What is no message. What has a cookie is told so; the rest is left alone."""
    cases = [
        b"x",
        b"c1 hello",
        b"c2 d7:commandi1ee",
        b"c3 le",
        b"c4 d7:command4:ping",
        b'c5 {"command":"ping"',
        b"c6 {}",
        b"c7 d7:command4:pingeXX",
        b" d7:command4:pinge",
        b"d7:command4:pinge",
        b"c8 d7:command4:ping3:sdp99999999999:e",
        b"c9 " + b"l" * 5000 + b"e" * 5000,
        b"c10 [1]",
        b"c11 i5e",
    ]
    for octets in cases:
        answers = []
        for server in (rtpengine, carnet):
            server.ask.send(octets)
            server.ask.send(b"after_%d d7:command4:pinge" % len(octets))
            answer = server.ask.receive()
            if answer.startswith(b"after_"):
                answers.append({"silent": 1})
            else:
                report.check(f"{server.name} goes on", server.ask.receive().startswith(b"after_"))
                cookie, _, body = answer.partition(b" ")
                report.check(f"{server.name}: its cookie", octets.startswith(cookie + b" "), answer)
                answers.append(ng.decode(body))
        report.compare(repr(octets[:24])[2:-1], *answers)


# What newer versions of rtpengine have and Debian's 10.5.3 has not.
NOT_IN_10_5 = [
    ("TCP", "json"),
    ("POST /ng-plain", "bencode"),
    ("POST /ng-plain", "json"),
    ("WebSocket without cookie", "bencode"),
    ("WebSocket without cookie", "json"),
]


def forms(report, rtpengine, carnet):
    """Every transport, in bencode and in JSON."""
    for server in (rtpengine, carnet):
        ways = {
            "UDP": lambda: ng.Udp(server.host, server.udp),
            "TCP": lambda: ng.Stream(server.host, server.tcp),
            "POST /ng": lambda: ng.Http(server.host, server.http),
            "POST /ng-plain": lambda: ng.Http(server.host, server.http, plain=True),
            "WebSocket": lambda: ng.WebSocket(server.host, server.http),
            "WebSocket without cookie": lambda: ng.WebSocket(
                server.host, server.http, "ng-plain.rtpengine.com"
            ),
        }
        for number, (name, way) in enumerate(ways.items()):
            for form in ("bencode", "json"):
                if server is rtpengine and (name, form) in NOT_IN_10_5:
                    continue
                where = f"{server.name}, {name}, {form}"
                client = way()
                client.form = form
                call = f"f{number}{form}"
                report.check(where, client("ping") == {"result": "pong"})
                offered = client("offer", call_id=call, from_tag="a", sdp=description(server.lines))
                report.check(where, offered.get("result") == "ok" and "sdp" in offered, offered)
                sdp = description(server.lines, True, port=4002)
                answered = client("answer", call_id=call, from_tag="a", to_tag="b", sdp=sdp)
                report.check(where, answered.get("result") == "ok" and "sdp" in answered, answered)
                report.check(where, call in client("list")["calls"])
                report.check(where, sorted(client("query", call_id=call)["tags"]) == ["a", "b"])
                deleted = client("delete", call_id=call, from_tag="a", **{"delete delay": 0})
                report.check(where, deleted.get("result") == "ok" and "warning" not in deleted, deleted)
                gone = client("query", call_id=call)
                report.check(where, gone.get("result") == "error", gone)
        stream = ng.Stream(server.host, server.tcp)
        stream.send(b"p1 d7:command4:pingep2 d7:command4:pinge")
        both = [stream.receive(), stream.receive()]
        want = [b"p1 d6:result4:ponge", b"p2 d6:result4:ponge"]
        report.check(f"{server.name}: two in one segment", sorted(both) == want, both)


def http(report, rtpengine, carnet):
    """HTTP that asks for nothing there is."""
    cases = [
        ("GET /ping", "GET", "/ping", None, {}),
        ("GET /ng", "GET", "/ng", None, {}),
        ("GET /", "GET", "/", None, {}),
        ("POST /nowhere", "POST", "/nowhere", b"c d7:command4:pinge", {}),
        ("another type", "POST", "/ng", b"c d7:command4:pinge", {"Content-Type": "text/plain"}),
        ("no cookie", "POST", "/ng", b"d7:command4:pinge", {"Content-Type": "application/x-rtpengine-ng"}),
        ("nothing", "POST", "/ng", b"", {"Content-Type": "application/x-rtpengine-ng"}),
        ("JSON", "POST", "/ng-plain", b'{"command":"ping"}', {"Content-Type": "application/json"}),
        ("half of JSON", "POST", "/ng-plain", b'{"command":', {"Content-Type": "application/json"}),
    ]
    for name, method, path, octets, headers in cases:
        answers = []
        for server in (rtpengine, carnet):
            client = ng.Http(server.host, server.http)
            try:
                status, answer = client.request(method, path, octets, headers)
                answers.append({"status": str(status)})
            except ConnectionError:
                answers.append({"status": "closed"})
        report.compare(name, *answers)


def main():
    section, there, here = sys.argv[1:]
    report = Report(section)
    {
        "errors": errors,
        "calls": calls,
        "statistics": statistics,
        "branches": branches,
        "flags": flags,
        "limits": limits,
        "text": text,
        "repeats": repeats,
        "malformed": malformed,
        "forms": forms,
        "http": http,
    }[section](report, Server("rtpengine", there, AUDIO), Server("Carnet", here, MSRP))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
