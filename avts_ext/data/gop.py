"""Which packets must be decoded to see the frames that are wanted."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import av

# Decoders hold back at most this many frames to bring them into display order (H.264, HEVC: 16).
_MAX_REORDER = 16


def close_together(limits: Sequence[int], most: int) -> Iterator[list[int]]:
    """Ascending limits in groups in which none is further than `most` from the one before it."""
    group: list[int] = []
    for limit in limits:
        if group and limit > group[-1] + most:
            yield group
            group = []
        group.append(limit)
    if group:
        yield group


class Run:
    """Video packets in decoding order, from a key packet on, and the frames wanted of them.

    Attributes:
        packets: all read so far.
        limits: ascending; of each the frame is wanted that has the last pts not beyond it.
        first_pts: of the key packet; frames shown before it cannot be decoded.
    """

    def __init__(self, key: av.Packet, first_pts: int) -> None:
        self.packets = [key]
        self.limits: list[int] = []
        self.first_pts = first_pts

    def holds(self, packet: av.Packet) -> bool:
        """Whether a packet at or after the first one is among those read."""
        last_dts = self.packets[-1].dts
        return packet.dts is not None and last_dts is not None and packet.dts <= last_dts

    def read_on(self, packets: Iterator[av.Packet], limit: int) -> None:
        """Take packets until none to come can belong to the frame for `limit` or the next one."""
        while not self._reaches(limit) and (packet := next(packets, None)) is not None:
            if packet.size:
                self.packets.append(packet)

    def _reaches(self, limit: int) -> bool:
        # No packet is shown before its decoding time, which increases from packet to packet.
        last_dts = self.packets[-1].dts
        if last_dts is not None and last_dts <= limit:
            return False
        recent = [packet.pts for packet in self.packets[-_MAX_REORDER - 1 :]]
        beyond = [pts for pts in recent if pts is not None and pts > limit]
        if last_dts is None:
            return len(beyond) > _MAX_REORDER
        return bool(beyond) and min(beyond) <= last_dts

    def wanted(self, nominal_ticks: int) -> list[tuple[int, int]] | None:
        """(pts, end pts) of the frame for each limit, as far as there is one; None if unknowable.

        Args:
            nominal_ticks: length of a frame that does not say its own.
        """
        spans = []
        for packet in self.packets:
            if packet.pts is None:
                return None
            if packet.pts >= self.first_pts and not packet.is_discard:
                spans.append((packet.pts, packet.pts + (packet.duration or nominal_ticks)))
        return _on_display(sorted(spans), self.limits)


def _on_display(spans: Sequence[tuple[int, int]], limits: Sequence[int]) -> list[tuple[int, int]]:
    """For each limit the span of the last frame not beyond it; less if the frames end too early."""
    starts, found = [start for start, _ in spans], []
    for limit in limits:
        i = bisect.bisect_right(starts, limit) - 1
        is_last = i == len(spans) - 1
        if i < 0 or (is_last and limit >= spans[i][1]):
            break
        found.append((starts[i], spans[i][1] if is_last else starts[i + 1]))
    return found
