"""The code by which the feeder finds a campaign's keys: the campaign's own, or none."""

from __future__ import annotations

import logging
import time

from backtrail.discovery import Found, find
from backtrail.errors import BacktrailError, Halt, OtherCode
from ledger.campaigns import GOING_BACK, Campaign

log = logging.getLogger(__name__)

AGAIN_S = 5.0
"""How long code that was refused is not looked at again."""


class Codes:
    """The code of the campaigns that are fed."""

    def __init__(self) -> None:
        self._found: dict[int, Found] = {}
        self._refused: dict[int, tuple[float, str, OtherCode]] = {}

    @property
    def refuses(self) -> dict[str, str]:
        """Why campaigns cannot be fed from here, by their names."""
        return {f"c{number}": str(error) for number, (_, _, error) in self._refused.items()}

    def keep(self, campaigns: set[int]) -> None:
        """Nothing; the code of others is forgotten. It is loaded anew when a campaign goes on that was held: it may have been mended."""
        self._found = {number: found for number, found in self._found.items() if number in campaigns}
        self._refused = {number: refused for number, refused in self._refused.items() if number in campaigns}

    def of(self, campaign: Campaign) -> Found:
        """The campaign's code.

        Raises:
            OtherCode: ours is another, or cannot be loaded: another worker has to feed it.
            Halt: it cannot be right for anybody.
        """
        found = self._found.get(campaign.id)
        if found is not None:
            return found
        since, fingerprint, error = self._refused.get(campaign.id, (0.0, "", OtherCode()))
        if fingerprint == campaign.fingerprint and time.monotonic() - since < AGAIN_S:
            raise error
        try:
            found = self._found[campaign.id] = load(campaign)
        except OtherCode as refusal:
            if str(refusal) != str(error):
                log.warning("%s is left to the feeder of another worker: %s", campaign.name, refusal)
            self._refused[campaign.id] = time.monotonic(), campaign.fingerprint, refusal
            raise
        self._refused.pop(campaign.id, None)
        return found


def load(campaign: Campaign) -> Found:
    """The campaign's code, as it is on disk now.

    Raises:
        OtherCode, Halt: as `Codes.of` says.
    """
    try:
        found = find(campaign.source, fresh=campaign.source.rpartition(":")[0].endswith(".py"))
    except Halt:
        raise
    except BacktrailError as error:
        raise OtherCode(f"cannot load {campaign.migration}: {error}") from error
    if found.fingerprint != campaign.fingerprint and campaign.kind not in GOING_BACK:
        raise OtherCode(f"its code of {campaign.migration} is not the campaign's, so that it cannot feed it")
    return found.bound(campaign.params)
