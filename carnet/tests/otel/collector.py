"""A collector of traces, with OpenTelemetry's own definitions (package opentelemetry-proto) and nothing of ours: each span it
is sent is a line of JSON on standard output. The first line is the port it listens at.

Answers 503 to as many requests as its first argument says; its second, if given and not empty, is a header that must be there. With
a third and fourth, PEM files of a certificate and its key, it speaks HTTPS.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

refusals = int(sys.argv[1]) if len(sys.argv) > 1 else 0
wanted = sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else None


def plain(value):
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def attributes(of):
    return {attribute.key: plain(attribute.value) for attribute in of}


def tell(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        global refusals
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
            status = 400
        elif wanted and self.headers[wanted.split(": ")[0]] != wanted.split(": ")[1]:
            status = 401
        elif refusals > 0:
            refusals -= 1
            status = 503
        if status == 200:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        tell(
                            {
                                "resource": attributes(resource.resource.attributes),
                                "scope": scope.scope.name,
                                "trace": span.trace_id.hex(),
                                "id": span.span_id.hex(),
                                "parent": span.parent_span_id.hex(),
                                "name": span.name,
                                "kind": span.kind,
                                "start": span.start_time_unix_nano,
                                "end": span.end_time_unix_nano,
                                "attributes": attributes(span.attributes),
                                "events": [
                                    {"name": event.name, "attributes": attributes(event.attributes)}
                                    for event in span.events
                                ],
                                "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                                "status": span.status.code,
                                "message": span.status.message,
                            }
                        )
        else:
            tell({"refused": status})
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
