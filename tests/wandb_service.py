"""A stand-in for W&B's service: as much of its interface as the client needs, recording what arrives."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    server: "Service"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.cut.is_set():  # the connection ends without an answer
            self.close_connection = True
            return
        if self.path == "/graphql":
            question = json.loads(body)
            answer = {"data": self.answer(question["query"], question.get("variables") or {})}
        else:
            answer = {"limits": {}}
            if self.path.endswith("/file_stream"):
                self.server.take(self.path, json.loads(body))
        self.reply(answer)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.uploads.append(self.path)
        self.reply({})

    def answer(self, query: str, variables: dict) -> dict:
        if "upsertBucket" in query:
            self.server.runs.append(variables["name"])
            self.server.facts[variables["name"]] |= {k: v for k, v in variables.items() if v is not None}
            return {"upsertBucket": {"bucket": self.bucket(variables), "inserted": True}}
        if "RunResumeStatus" in query:
            return {"model": self.resumed(variables["name"])}
        if "viewer" in query:
            teams = {"edges": []}
            viewer = {"id": "1", "entity": "someone", "username": "someone", "flags": "{}", "teams": teams}
            return {"viewer": viewer}
        if "upsertView" in query:
            self.server.views.append(variables)
            return {"upsertView": {"view": {"id": "view", "name": variables["name"]}, "inserted": True}}
        if "createArtifact" in query:
            sequence = {"id": "sequence", "latestArtifact": None}
            artifact = {"id": "artifact", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if "createRunFiles" in query:
            address = f"http://127.0.0.1:{self.server.server_port}/storage"
            files = [{"name": name, "uploadUrl": f"{address}/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        return {}

    def bucket(self, variables: dict) -> dict:
        entity = {"id": "entity", "name": "someone"}
        project = {"id": "project", "name": variables["project"], "entity": entity}
        bucket = {"id": variables["name"], "name": variables["name"], "displayName": "", "config": "{}"}
        # A client that has not asked to resume begins the run anew, as `wandb sync` does.
        run = variables["name"]
        lines = len(self.server.history[run]) if run in self.server.resuming else 0
        return bucket | {"description": "", "sweepName": None, "historyLineCount": lines, "project": project}

    def resumed(self, run: str) -> dict:
        """What the service knows of a run, as a client asks before it goes on with it."""
        lines = self.server.history[run]
        self.server.resuming.add(run)
        if run not in self.server.runs:
            return {
                "id": "project",
                "name": "vsrbench",
                "entity": {"id": "entity", "name": "someone"},
                "bucket": None,
            }
        newest = [lines[max(lines)]] if lines else []
        bucket = {
            "id": run,
            "name": run,
            "summaryMetrics": newest[0] if newest else "{}",
            "displayName": run,
            "logLineCount": 0,
            "historyLineCount": len(lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps(newest),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }
        return {
            "id": "project",
            "name": "vsrbench",
            "entity": {"id": "entity", "name": "someone"},
            "bucket": bucket,
        }

    def reply(self, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Service(ThreadingHTTPServer):
    """What clients sent: `history[run]` are the stored lines by number; a line sent again is replaced."""

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.runs: list[str] = []
        self.facts: dict[str, dict] = defaultdict(dict)
        self.streams: list[tuple[str, dict]] = []
        self.uploads: list[str] = []
        self.views: list[dict] = []
        self.history: dict[str, dict[int, str]] = defaultdict(dict)
        self.first_seen: dict[str, float] = {}  # when a run's first line arrived
        self.resuming: set[str] = set()  # runs that a client has asked about
        self.cut = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, path: str, message: dict) -> None:
        """Store what a client streamed to `/files/<entity>/<project>/<run>/file_stream`."""
        self.streams.append((path, message))
        run = path.split("/")[-2]
        files = message.get("files") or {}
        if "wandb-history.jsonl" in files:
            chunk = files["wandb-history.jsonl"]
            if chunk["offset"] == 0:
                self.history[run].clear()
            for number, line in enumerate(chunk["content"], chunk["offset"]):
                self.history[run][number] = line
                self.first_seen.setdefault(run, time.time())
        if message.get("complete"):
            self.resuming.discard(run)

    def steps(self, run: str) -> list[int]:
        """Steps of a run's history in the order of its lines."""
        return [json.loads(self.history[run][number])["_step"] for number in sorted(self.history[run])]


@contextmanager
def wandb_service() -> Iterator[Service]:
    """Run the stand-in on a free port of this machine."""
    with Service() as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield service
        service.shutdown()
