from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from lepton_apps.realtime.layer import FeedLayer, Message


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 5))


def test_every_member_gets_the_same_message_in_order() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=8)
        members = [await layer.new_channel() for _ in range(3)]
        for member in members:
            await layer.group_add("feed.fintech", member)
        messages = [{"type": "feed.event", "number": number} for number in range(5)]
        for message in messages:
            await layer.group_send("feed.fintech", message)
        await layer.group_send("feed.ops", {"type": "feed.event", "number": 99})

        for member in members:
            for message in messages:
                assert await layer.receive(member) is message

    run(check())


def test_a_full_queue_is_told_once_and_harms_nobody_else() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=2)
        slow, quick = await layer.new_channel(), await layer.new_channel()
        told: list[str] = []
        layer.on_full(slow, lambda: told.append("slow"))
        for member in (slow, quick):
            await layer.group_add("feed.fintech", member)
        delivered = []
        for number in range(4):
            delivered.append(layer.publish("feed.fintech", {"type": "e", "number": number}))
            assert (await layer.receive(quick))["number"] == number

        assert told == ["slow"]
        assert delivered == [2, 2, 1, 1]
        with pytest.raises(ChannelFull):
            await layer.receive(slow)

    run(check())


def test_a_waiting_reader_is_woken_by_a_message_and_by_a_full_queue() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=1)
        channel = await layer.new_channel()
        reader = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        await layer.send(channel, {"type": "a"})
        assert await reader == {"type": "a"}

        await layer.send(channel, {"type": "b"})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"type": "c"})
        with pytest.raises(ChannelFull):
            await layer.receive(channel)

    run(check())


def test_a_channel_that_left_or_was_dropped_gets_nothing() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=4)
        left, dropped = await layer.new_channel(), await layer.new_channel()
        for channel in (left, dropped):
            await layer.group_add("feed.fintech", channel)
        await layer.group_discard("feed.fintech", left)
        layer.drop(dropped)

        assert layer.publish("feed.fintech", {"type": "a"}) == 0

    run(check())


def test_a_waiting_reader_takes_at_once_and_a_busy_one_gets_all_in_order() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=8)
        channel = await layer.new_channel()
        await layer.group_add("feed.fintech", channel)
        at_once: list[int] = []

        def take(message: Message) -> bool:
            if message["number"] == 3:
                return False
            at_once.append(message["number"])
            return True

        layer.take_at_once(channel, take)
        layer.publish("feed.fintech", {"type": "e", "number": 1})  # nobody waits yet
        assert at_once == []
        assert (await layer.receive(channel))["number"] == 1

        reader = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        # 2 is taken at once; 3 is refused and queued, and 4 must not overtake it.
        for number in (2, 3, 4):
            assert layer.publish("feed.fintech", {"type": "e", "number": number}) == 1
        assert (at_once, (await reader)["number"]) == ([2], 3)
        assert (await layer.receive(channel))["number"] == 4

    run(check())


def test_a_full_queue_takes_nothing_at_once_any_more() -> None:
    async def check() -> None:
        layer = FeedLayer(capacity=1)
        channel = await layer.new_channel()
        at_once: list[int] = []

        def take(message: Message) -> bool:
            at_once.append(message["number"])
            return True

        layer.take_at_once(channel, take)
        await layer.send(channel, {"type": "e", "number": 1})
        for number in (2, 3):
            with pytest.raises(ChannelFull):
                await layer.send(channel, {"type": "e", "number": number})
        assert at_once == []
        with pytest.raises(ChannelFull):
            await layer.receive(channel)

    run(check())
