"""The async twins, and the ORM's async methods, under the same protocol."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from cachecore.cache import Cache
from cachecore.errors import UncacheableLookup
from tests.geo_app.models import City, Country

pytestmark = pytest.mark.django_db(transaction=True)


async def make_oslo() -> City:
    """A city, committed."""
    norway = await Country.objects.acreate(code="NO", name="Norway")
    return await City.objects.acreate(slug="oslo", name="Oslo", country=norway)


async def test_one_row(each_cache: Cache) -> None:
    """aget_from_cache finds a row by every lookup, cold and warm."""
    oslo = await make_oslo()
    for _ in range(3):
        assert await City.objects.aget_from_cache(pk=oslo.pk) == oslo
        assert await City.objects.aget_from_cache(slug="oslo") == oslo
        assert await City.objects.aget_from_cache(country=oslo.country_id, name="Oslo") == oslo
    assert each_cache.statistics.hits > 0


async def test_many_rows(each_cache: Cache) -> None:
    """aget_many_from_cache keeps the order of any iterable."""
    oslo = await make_oslo()
    moss = await City.objects.acreate(slug="moss", name="Moss", country_id=oslo.country_id)
    for _ in range(3):
        assert await City.objects.aget_many_from_cache(iter([moss.pk, oslo.pk, moss.pk])) == [moss, oslo, moss]
        assert await City.objects.aget_many_from_cache(("oslo", "nowhere"), key="slug") == [oslo]


async def test_what_is_missing_or_refused(each_cache: Cache) -> None:
    """The errors are those of the sync methods."""
    with pytest.raises(City.DoesNotExist):
        await City.objects.aget_from_cache(slug="nowhere")
    with pytest.raises(UncacheableLookup):
        await City.objects.aget_from_cache(population=7)
    with pytest.raises(UncacheableLookup):
        await City.objects.aget_many_from_cache([1], key="population")


async def test_a_hit_does_not_leave_the_event_loop(memory_cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the in-process cache holds is answered without a thread and without a query; a miss takes a thread."""
    oslo = await make_oslo()
    for query in ({"pk": oslo.pk}, {"slug": "oslo"}, {"slug": "oslo"}):
        await City.objects.aget_from_cache(**query)
    left: list[Any] = []

    def leave(function: Any, **options: Any) -> Any:
        left.append(function)
        return sync_to_async(function, **options)

    monkeypatch.setattr("cachecore.integrations.django.manager.sync_to_async", leave)
    reading = City.objects.aget_from_cache(pk=oslo.pk)
    with pytest.raises(StopIteration) as finished:  # it never waits, so one step is all of it
        reading.send(None)
    assert finished.value.value == oslo
    assert await City.objects.aget_from_cache(slug="oslo") == oslo
    assert left == []
    memory_cache.clear()
    assert await City.objects.aget_from_cache(pk=oslo.pk) == oslo
    assert len(left) == 1


async def test_writes_by_the_async_orm_are_seen(each_cache: Cache) -> None:
    """asave, aupdate, abulk_update, aupdate_or_create and adelete outdate what they write."""
    oslo = await make_oslo()
    pk = oslo.pk

    async def population() -> int:
        return (await City.objects.aget_from_cache(pk=pk)).population

    assert await population() == 0
    oslo.population = 1
    await oslo.asave()
    assert await population() == 1
    await City.objects.filter(pk=oslo.pk).aupdate(population=2)
    assert await population() == 2
    oslo.population = 3
    await City.objects.abulk_update([oslo], ["population"])
    assert await population() == 3
    await City.objects.aupdate_or_create(slug="oslo", defaults={"population": 4})
    assert await population() == 4
    await oslo.adelete()
    with pytest.raises(City.DoesNotExist):
        await population()


async def test_a_transaction_of_another_task_is_not_seen(each_cache: Cache) -> None:
    """While a block in another thread has written and not committed, tasks read the old value, then the new one."""
    oslo = await make_oslo()
    assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 0
    has_written, go_on = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                City.objects.filter(pk=oslo.pk).update(population=5)
                has_written.set()
                assert go_on.wait(30)
        finally:
            connection.close()

    writing = asyncio.ensure_future(sync_to_async(write, thread_sensitive=False)())
    assert await sync_to_async(has_written.wait, thread_sensitive=False)(30)
    for _ in range(2):
        assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 0
    go_on.set()
    await writing
    assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 5


async def test_a_transaction_of_the_same_connection_is_the_readers_own(each_cache: Cache) -> None:
    """Tasks share a connection, so a block that one has opened is the other's too: it sees the block's writes."""
    oslo = await make_oslo()
    assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 0
    block = transaction.atomic()
    await sync_to_async(block.__enter__)()
    try:
        await City.objects.filter(pk=oslo.pk).aupdate(population=5)
        reader = asyncio.ensure_future(City.objects.aget_from_cache(pk=oslo.pk))
        assert (await reader).population == 5
    finally:
        await sync_to_async(transaction.set_rollback)(True)
        await sync_to_async(block.__exit__)(None, None, None)
    assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 0


async def test_many_tasks_at_once(each_cache: Cache) -> None:
    """A hundred tasks on one cold key all get the row."""
    oslo = await make_oslo()
    found = await asyncio.gather(*[City.objects.aget_from_cache(pk=oslo.pk) for _ in range(100)])
    assert {city.pk for city in found} == {oslo.pk}
    assert each_cache.statistics.fills == 1


async def test_a_reader_that_is_cancelled_leaves_nothing_wrong(each_cache: Cache) -> None:
    """Cancelling a read costs nobody a wrong value."""
    oslo = await make_oslo()
    reading = asyncio.ensure_future(City.objects.aget_from_cache(pk=oslo.pk))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await City.objects.filter(pk=oslo.pk).aupdate(population=5)
    assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 5
