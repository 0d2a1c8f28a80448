"""What was used last is kept, and no more than memory is meant for."""

from concurrent.futures import ThreadPoolExecutor

from services.runtime.last_used import LastUsed


def test_what_was_not_used_for_longest_is_dropped():
    kept = LastUsed[str, int](2)
    kept.put("a", 1)
    kept.put("b", 2)
    kept.get("a")
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


def test_values_count_by_their_size():
    kept = LastUsed[str, bytes](5, len)
    kept.put("a", b"12")
    kept.put("a", b"123")
    kept.put("b", b"12")
    assert [kept.get(key) for key in "ab"] == [b"123", b"12"]
    kept.put("c", b"1")
    assert [kept.get(key) for key in "abc"] == [None, b"12", b"1"]
    kept.put("d", b"123456")
    assert [kept.get(key) for key in "abcd"] == [None] * 4


def test_what_was_dropped_takes_no_room():
    kept = LastUsed[str, int](1)
    kept.put("a", 1)
    kept.drop("a")
    kept.drop("a")
    kept.put("b", 2)
    assert kept.get("b") == 2
    kept.clear()
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [None, None, 3]


def test_threads_share_it():
    kept = LastUsed[int, int](10)

    def use(start: int) -> None:
        for number in range(start, start + 2000):
            kept.put(number % 30, number % 30)
            assert kept.get(number % 7) in (None, number % 7)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert sum(kept.get(key) is not None for key in range(30)) == 10
