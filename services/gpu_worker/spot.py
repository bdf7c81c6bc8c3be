"""Notices that a spot instance is about to be taken back, where its cloud says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urljoin

import urllib3

from services.chassis.logs import get_logger

log = get_logger()
#: AWS asks to look every five seconds; the notice comes two minutes before the end.
CHECK_SECONDS = 5.0
_TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)
_TOKEN_SECONDS = 21_600


class SpotWatch:
    """A thread that asks the instance's metadata service, beside the work, until it announces an end.

    It speaks AWS's protocol: 404 = nothing is announced, 200 = an action is, and a session token goes with every
    request where the service gives one (IMDSv2).  Whatever else it answers, or that it does not, is no notice.
    """

    def __init__(self, url: str, announced: Callable[[], None]) -> None:
        """``announced`` is called once, in the watch's thread."""
        self._url = url
        self._announced = announced
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
        self._stopped = threading.Event()
        self._said = ""

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._loop, name="spot-notice", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            if self._is_announced():
                log.warning("spot_notice_received")
                self._announced()
                return
            self._stopped.wait(CHECK_SECONDS)

    def _is_announced(self) -> bool:
        try:
            answer = self._pool.request("GET", self._url, headers=self._session())
        except urllib3.exceptions.HTTPError as error:
            self._say(type(error).__name__)
            return False
        if answer.status not in (200, 404):
            self._say(f"status {answer.status}")
        return answer.status == 200

    def _session(self) -> dict[str, str]:
        """The header of IMDSv2; nothing where the service knows no sessions."""
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        answer = self._pool.request("PUT", urljoin(self._url, "/latest/api/token"), headers=ttl)
        return {"X-aws-ec2-metadata-token": answer.data.decode("latin-1")} if answer.status == 200 else {}

    def _say(self, what: str) -> None:
        """Once: a service that is away stays so on a machine that is no spot instance."""
        if what != self._said:
            self._said = what
            log.warning("spot_notice_unknown", why=what)
