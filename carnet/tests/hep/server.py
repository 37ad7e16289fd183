"""A capture server in TLS, with a decoder of HEPv3 and of a little H.248 that is nothing of ours: a packet is a line of JSON on standard
output. The first line is the port it listens at.

Arguments: its certificate and key; optionally a port to listen at.
"""

import json
import re
import socket
import ssl
import struct
import sys

CHUNKS = {
    0x0001: "family", 0x0002: "transport", 0x0003: "from", 0x0004: "to", 0x0007: "from_port", 0x0008: "to_port",
    0x0009: "seconds", 0x000A: "microseconds", 0x000B: "protocol", 0x000C: "agent", 0x000E: "key", 0x000F: "payload",
    0x0011: "correlation", 0x0013: "node",
}
WIDTHS = {1: "B", 2: ">H", 4: ">I"}
TEXTS = ("key", "payload", "correlation", "node")


def decode(packet):
    magic, length = struct.unpack_from(">4sH", packet)
    assert magic == b"HEP3" and length == len(packet)
    told, at = {}, 6
    while at < length:
        vendor, kind, size = struct.unpack_from(">HHH", packet, at)
        assert vendor == 0 and size >= 6 and at + size <= length
        octets = packet[at + 6 : at + size]
        name = CHUNKS[kind]
        if name in TEXTS:
            told[name] = octets.decode()
        elif name in ("from", "to"):
            told[name] = socket.inet_ntop(socket.AF_INET, octets)
        else:
            told[name] = struct.unpack(WIDTHS[len(octets)], octets)[0]
        at += size
    if told["protocol"] == 7:
        text = told["payload"]
        # H.248.1 annex B, in long words: who says it, transactions, contexts and what is done in them.
        told["mid"] = re.match(r"MEGACO/\d (\S+)", text).group(1)
        told["transactions"] = [int(number) for number in re.findall(r"\b(?:Transaction|Reply|Pending)\s*=\s*(\d+)", text)]
        told["contexts"] = re.findall(r"\bContext\s*=\s*([\d$*-]+)", text)
        told["reply"] = re.search(r"\bReply\s*=", text) is not None
        told["commands"] = re.findall(r"\b(Add|Modify|Subtract|Notify|ServiceChange|AuditValue)\s*=", text)
    return told


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            octets = b""
            while True:
                more = stream.recv(65536)
                if not more:
                    break
                octets += more
                while len(octets) >= 6 and len(octets) >= (length := struct.unpack_from(">H", octets, 4)[0]):
                    print(json.dumps(decode(octets[:length])), flush=True)
                    octets = octets[length:]
    except OSError as error:
        print(json.dumps({"failed": str(error)}), flush=True)
