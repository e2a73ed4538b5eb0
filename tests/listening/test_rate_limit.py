"""An address that has used up its minute waits for the next one; others do not."""

from __future__ import annotations

from consistency_tta.listening.rate_limit import RateLimit


def test_each_address_has_so_many_requests_a_minute() -> None:
    now = [1000.0]
    limit = RateLimit(2, clock=lambda: now[0])
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    assert limit.allows("b")
    now[0] += 59.9
    assert not limit.allows("a")
    now[0] += 0.1
    assert limit.allows("a")
