"""A small Prometheus: answers instant queries of one range selector, about the pods that the API server knows.

Every model gets 10 requests a second, of which its candidate serves the 5% of the first step; one in a thousand fails; pods are
scraped every 15 s. The matchers are evaluated in full, so a query that asks for many models gets the series of all of them."""
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SCRAPE = 15
PER_SECOND = {"fp32": 9.5, "int8": 0.5}
BUCKETS = [("0.05", 0.6), ("0.1", 0.97), ("0.25", 0.995), ("1", 1.0), ("+Inf", 1.0)]
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
QUERY = re.compile(r'^\s*(\w+)(?:\{(.*)\})?\[(\d+)(ms|s|m|h)[^\]]*\]\s*$', re.S)


def range_seconds(query):
    inside = query[query.rindex("[") + 1:query.rindex("]")]
    unit = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * unit[u] for n, u in re.findall(r"(\d+)(ms|[smhd])", inside))


class Metrics:
    def __init__(self, api, port):
        self.api, self.pods, self.queries, self.series = api, [], 0, 0
        self.asked = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=self.discover, daemon=True).start()

    def discover(self):
        # Where nobody asks, the API server is spared the lists.
        self.asked.wait()
        while True:
            pods = []
            for pod in self.api.items("/api/v1/pods"):
                start = pod.get("status", {}).get("startTime")
                if start:
                    begun = time.mktime(time.strptime(start, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
                    pods.append((pod["metadata"]["namespace"], pod["metadata"]["name"], begun))
            self.pods = pods
            time.sleep(20)

    def answer(self, query, at):
        self.asked.set()
        name, matchers, *_ = QUERY.match(query).groups()
        window = range_seconds(query)
        tests = []
        for label, op, value in MATCHER.findall(matchers or ""):
            value = json.loads(f'"{value}"')
            regex = re.compile(f"(?:{value})\\Z") if "~" in op else None
            tests.append((label, op.startswith("!"), (lambda text, r=regex: bool(r.match(text))) if regex else (lambda text, v=value: text == v)))
        holds = lambda labels: all(test(labels.get(label, "")) != negative for label, negative, test in tests)
        times = range(int((at - window) // SCRAPE + 1) * SCRAPE, int(at) + 1, SCRAPE)
        found = []
        for namespace, pod, begun in self.pods:
            per_second = PER_SECOND[pod.split("-")[2]]
            base = {"__name__": name, "namespace": namespace, "pod": pod, "job": "models"}
            if not holds_some(tests, base):
                continue
            for extra, share in kinds(name):
                labels = {**base, **extra}
                if holds(labels):
                    values = [[t, str(int((t - begun) * per_second * share))] for t in times if t > begun]
                    if values:
                        found.append({"metric": labels, "values": values})
        self.queries += 1
        self.series += len(found)
        return {"status": "success", "data": {"resultType": "matrix", "result": found}}

    def handler(self):
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.reply(urlsplit(self.path).query)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self.reply(body or urlsplit(self.path).query)

            def reply(self, form):
                form = parse_qs(form)
                data = json.dumps(metrics.answer(form["query"][0], float(form["time"][0]))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler


def holds_some(tests, base):
    """Whether the matchers on the labels of the target hold: spares the rest of the work for all other pods."""
    return all(test(base[label]) != negative for label, negative, test in tests if label in base)


def kinds(name):
    if name == "http_requests_total":
        return [({"code": "200"}, 0.999), ({"code": "500"}, 0.001)]
    if name == "http_request_duration_seconds_bucket":
        return [({"le": le}, share) for le, share in BUCKETS]
    return []
