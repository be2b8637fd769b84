"""Token buckets."""

from __future__ import annotations

from cdp.buckets import Bucket, Buckets


class Time:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_bucket_gives_its_capacity_and_refills() -> None:
    time = Time()
    buckets = Buckets(3, 1.0, now=time)
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.wait("a") > 0
    time.at = 1.0
    assert buckets.wait("a") == 0
    assert [buckets.take("a"), buckets.take("a")] == [True, False]


def test_keys_do_not_share_a_bucket() -> None:
    buckets = Buckets(1, 0.001)
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a")


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    time = Time()
    buckets = Buckets(2, 1.0, now=time)
    buckets.take("a")
    time.at = 1000.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]


def test_memory_is_bounded() -> None:
    buckets = Buckets(1, 0.001, keys=10)
    for number in range(100):
        buckets.take(number)
    assert len(buckets._held) == 10


def test_more_than_a_bucket_holds_passes_when_it_is_full_and_is_owed() -> None:
    time = Time()
    bucket = Bucket(10, 5.0, time)
    assert bucket.take(30)
    assert (bucket.take(1), bucket.wait(1)) == (False, 5)  # 20 are owed: gone after 4 s, one more at 4.2
    time.at = 4.3
    assert bucket.take(1)
    assert bucket.wait(30) == 2  # it is full again after 2 s
