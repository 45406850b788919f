"""Requests to Podium and their answers: pages, streams, uploads, downloads, and what goes wrong."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import httpx

from podium_client.answers import ImportReport, Json

T = TypeVar("T")
Row = Mapping[str, Any]
Rows = Iterable[Row] | PathLike[str]
CONTENT_TYPES = {
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".txt": "text/plain",
}


class PodiumError(Exception):
    """What Podium refused, or that it could not be asked.

    `status` is the HTTP status, 0 where there was no answer; `code` is stable, for programs;
    `fields` says of each offending input what would be accepted.
    """

    def __init__(self, status: int, code: str, detail: str, fields: Row | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.fields: dict[str, str] = dict(fields or {})


class Connection:
    """Podium at an address, as the person whose token this is."""

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 120) -> None:
        self.http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        with _transport_errors():
            answer = self.http.request(method, path, **request)
        _check(answer)
        return answer

    def _json(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        return cast("T", self._send(method, path, **request).json())

    def _pages(self, path: str, query: Row | None = None) -> Iterator[Any]:
        """The items of every page."""
        values = {"limit": 200, **(query or {})}
        while True:
            page = self._json(Json, "GET", path, params=values)
            yield from page["items"]
            if not page["next_cursor"]:
                return
            values["cursor"] = page["next_cursor"]

    def _lines(self, path: str, query: Row) -> Iterator[Json]:
        """The objects of a JSONL stream, as they come."""
        asked = self.http.stream("GET", path, params=query)
        with _transport_errors(), asked as answer:
            _check(answer)
            rest = b""
            # Not `iter_lines`: it also breaks lines at characters that JSON leaves in texts.
            for chunk in answer.iter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines)

    def _upload(self, path: str, source: Rows, query: Row | None = None) -> ImportReport:
        """Stream rows as JSONL, or a file as it is."""
        kind = CONTENT_TYPES[".jsonl"]
        with ExitStack() as opened:
            if isinstance(source, PathLike):
                kind = CONTENT_TYPES.get(Path(source).suffix, kind)
                content: Iterable[bytes] = opened.enter_context(Path(source).open("rb"))
            else:
                content = (json.dumps(row).encode() + b"\n" for row in source)
            request = {"content": content, "headers": {"Content-Type": kind}, "params": query}
            return self._json(ImportReport, "POST", path, **request)

    def _fetch_rest(self, address: str, query: Row, part: Path) -> None:
        """Append what is missing of the file; the bytes of a snapshot are always the same."""
        part.touch()
        start = part.stat().st_size
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
        asked = self.http.stream("GET", address, params=query, headers=headers)
        with _transport_errors(), asked as answer:
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return
            _check(answer)
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                for chunk in answer.iter_raw():
                    file.write(chunk)


def _check(answer: httpx.Response) -> None:
    """Raise what a problem document says."""
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
        code, detail = problem["code"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        problem, code, detail = {}, "error", answer.text[:200] or answer.reason_phrase
    raise PodiumError(answer.status_code, code, detail, problem.get("fields"))


@contextmanager
def _transport_errors() -> Iterator[None]:
    """Say as a PodiumError that there was no answer, or only a part of one."""
    try:
        yield
    except httpx.TransportError as error:
        raise PodiumError(0, "unreachable", str(error) or type(error).__name__) from error
