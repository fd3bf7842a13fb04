"""The plans for fleets of Redis servers, step by step and without any server: whom they ask, and whom they believe."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cachecore.backends.redis.cluster import REDIRECTS, Cluster
from cachecore.backends.redis.link import LinkLost
from cachecore.backends.redis.plan import Call
from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.sentinel import Sentinels
from cachecore.backends.redis.settings import Address, read_settings
from cachecore.backends.redis.slots import SLOTS, Redirect, key_slot, read_redirect, read_slots
from cachecore.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnavailable
from cachecore.testing import ManualClock
from cachecore.testing.servers import RedisServer, free_port
from tests.conftest import require

BATCH: Any = [("key", (b"",), 0)]

# -- slots -----------------------------------------------------------------------------------------

ASKED = Address("asked", 7000)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        # From the cluster specification: CRC16 of "123456789" is 0x31C3.
        ("123456789", 0x31C3),
        ("", 0),
        ("{user1000}.following", key_slot("user1000")),
        ("foo{{bar}}zap", key_slot("{bar")),
        ("foo{bar}{zap}", key_slot("bar")),
    ],
)
def test_slots_of_keys(key: str, slot: int) -> None:
    """A key's slot is that of the specification, by its hash tag where it has one."""
    assert key_slot(key) == slot


@pytest.fixture(scope="module")
def node() -> Iterator[RedisServer]:
    """A server that knows slots."""
    with require(RedisServer, {"cluster-enabled": "yes", "cluster-port": str(free_port())}) as node:
        yield node


@pytest.mark.parametrize("key", ["foo{}{bar}", "foo{bar", "foo}bar{", "é", "{é}a"])
def test_slots_are_those_of_the_server(key: str, node: RedisServer) -> None:
    """The server agrees on keys with empty, open and odd braces, and others than ASCII."""
    assert node.call("CLUSTER", "KEYSLOT", key) == key_slot(key)


def test_a_map_of_slots() -> None:
    """Each slot has the first node of its range as owner, or none; a node without a host is where it was asked."""
    slots = read_slots([[0, 99, [b"a", 1, b"id"], [b"r", 3, b"id"]], [200, 200, [b"", 2, b"id", []]]], ASKED)
    assert slots.owners[0] == slots.owners[99] == Address("a", 1)
    assert slots.owners[100] is None
    assert slots.owners[200] == Address("asked", 2)
    assert slots.primaries == {Address("a", 1), Address("asked", 2)}
    assert slots.nodes == slots.primaries | {Address("r", 3)}


@pytest.mark.parametrize(
    "reply",
    [None, 7, b"OK", [7], [[0, 99]], [[0, SLOTS, [b"a", 1]]], [[9, 2, [b"a", 1]]], [[-1, 2, [b"a", 1]]],
     [[0, 1, [b"a", b"1"]]], [[0, 1, [7, 1]]], [[0, 1, [b"\xff", 1]]], [["0", "1", [b"a", 1]]]],
)  # fmt: skip
def test_a_map_that_nobody_can_read(reply: Any) -> None:
    """Anything else than a map is said to be none."""
    with pytest.raises(Garbled):
        read_slots(reply, ASKED)


@pytest.mark.parametrize(
    ("text", "redirect"),
    [
        ("MOVED 3999 10.0.0.1:6381", Redirect(3999, Address("10.0.0.1", 6381), asking=False)),
        ("ASK 3999 10.0.0.1:6381", Redirect(3999, Address("10.0.0.1", 6381), asking=True)),
        ("MOVED 3999 :6381", Redirect(3999, Address("asked", 6381), asking=False)),
        ("MOVED 3999 ::1:6381", Redirect(3999, Address("::1", 6381), asking=False)),
        ("MOVED 99999 a:1", None),
        ("MOVED x a:1", None),
        ("MOVED 1 a:x", None),
        ("MOVED 1", None),
        ("ERR no", None),
    ],
)
def test_redirections(text: str, redirect: Redirect | None) -> None:
    """A redirection names a slot and a node; what cannot be read is none."""
    assert read_redirect(ErrorReply(text), ASKED) == redirect


# -- a cluster -------------------------------------------------------------------------------------

A, B, C = (Address(name, 1) for name in "abc")
KEY_SLOT = key_slot("key")
ROW = ["row"]


def drawn(primary: Address, *others: Address) -> list[Any]:
    """The reply to CLUSTER SLOTS of a cluster in which one node serves the key, and has these replicas."""
    return [[[0, SLOTS - 1, *[[node.host.encode(), node.port, b"id"] for node in (primary, *others)]]]]


def finished(plan: Any, outcomes: Sequence[Any]) -> Any:
    """What the plan returns when its last step has these outcomes."""
    with pytest.raises(StopIteration) as stop:
        plan.send(outcomes)
    return stop.value.value


@pytest.fixture
def cluster(clock: ManualClock) -> Cluster:
    """Plans for a cluster that are just at work: node A serves the key and B and C replicate it."""
    cluster = Cluster(read_settings("redis+cluster://c:1", {}), clock)
    plan = cluster.exchange(BATCH)
    [question] = next(plan)
    assert (question.address, question.scout) == (C, True)
    assert plan.send([drawn(A, B, C)]) == [Call(A, BATCH)]
    assert finished(plan, [ROW]) == ROW
    return cluster


def test_a_primary_of_a_cluster_is_believed_for_a_second(cluster: Cluster, clock: ManualClock) -> None:
    """Who was heard of within a second is asked alone; later another node is asked along, in the same step."""
    clock.advance(0.9)
    plan = cluster.exchange(BATCH)
    assert next(plan) == [Call(A, BATCH)]
    assert finished(plan, [ROW]) == ROW
    clock.advance(1.1)
    plan = cluster.exchange(BATCH)
    asked, witness = next(plan)
    assert asked == Call(A, BATCH)
    assert witness.scout
    assert witness.address != A
    assert finished(plan, [ROW, drawn(A, B, C)]) == ROW


def test_an_answer_that_a_witness_contradicts_is_not_returned(cluster: Cluster, clock: ManualClock) -> None:
    """When another node says that the slots have another owner, the request is begun again, and goes there."""
    clock.advance(1.1)
    plan = cluster.exchange(BATCH)
    next(plan)
    with pytest.raises(LinkLost, match="no longer serves"):
        plan.send([ROW, drawn(B, C)])
    plan = cluster.exchange(BATCH)
    asked, *_ = next(plan)
    assert asked == Call(B, BATCH)


def test_an_answer_that_nobody_confirms_is_not_returned(cluster: Cluster, clock: ManualClock) -> None:
    """The other nodes are asked in turn; when none answers neither does the backend."""
    clock.advance(1.1)
    plan = cluster.exchange(BATCH)
    _, first = next(plan)
    [second] = plan.send([ROW, BackendUnavailable("down")])
    assert {first.address, second.address} == {B, C}
    with pytest.raises(BackendUnavailable, match="no other node"):
        plan.send([BackendUnavailable("down")])


def test_a_node_alone_needs_no_witness(clock: ManualClock) -> None:
    """A cluster of one node has nobody who could have replaced it."""
    cluster = Cluster(read_settings("redis+cluster://a:1", {}), clock)
    plan = cluster.exchange(BATCH)
    next(plan)
    assert plan.send([drawn(A)]) == [Call(A, BATCH)]
    assert finished(plan, [ROW]) == ROW


def test_two_nodes_are_witnesses_of_each_other(clock: ManualClock) -> None:
    """Nobody is a witness about itself: when all nodes are asked for entries, two are asked for the map."""
    cluster = Cluster(read_settings("redis+cluster://elsewhere:1", {}), clock)
    keys = ["key", next(key for key in map(str, range(99)) if key_slot(key) < KEY_SLOT)]
    batch: Any = [(key, (b"",), 0) for key in keys]
    slots = [[[0, KEY_SLOT - 1, [b"a", 1, b"id"]], [KEY_SLOT, SLOTS - 1, [b"b", 1, b"id"]]]]
    plan = cluster.exchange(batch)
    next(plan)
    calls = plan.send([slots])
    assert [(call.address, call.scout) for call in calls if not call.scout] == [(B, False), (A, False)]
    assert {call.address for call in calls if call.scout} == {A, B}
    assert finished(plan, [["row b"], ["row a"], slots, slots]) == ["row b", "row a"]


def test_only_what_has_moved_is_sent_again(cluster: Cluster) -> None:
    """A command that was sent on goes to the node that was named, the map is asked for along, and it is known then."""
    batch: Any = [("key", (b"1",), 0), ("key", (b"2",), 0)]
    plan = cluster.exchange(batch)
    next(plan)
    again, question = plan.send([["row", ErrorReply(f"MOVED {KEY_SLOT} b:1")]])
    assert again == Call(B, batch[1:])
    assert (question.address, question.scout) == (B, True)
    assert finished(plan, [["row 2"], drawn(B, A, C)]) == ["row", "row 2"]
    assert [call.address for call in next(cluster.exchange(BATCH))] == [B]


def test_asking_is_for_this_once(cluster: Cluster) -> None:
    """After ASK the command goes to the other node, with ASKING before it, and the next one to the first again."""
    plan = cluster.exchange(BATCH)
    next(plan)
    [again, *_] = plan.send([[ErrorReply(f"ASK {KEY_SLOT} b:1")]])
    assert again.address == B
    assert b"ASKING" in again.batch[0][1][0]
    assert again.batch[1] == BATCH[0]
    assert finished(plan, [[True, "row"], drawn(A, B, C)]) == ROW
    assert [call.address for call in next(cluster.exchange(BATCH))] == [A]


def test_nodes_that_send_each_other_on(cluster: Cluster) -> None:
    """A command that is sent on again and again fails."""
    plan = cluster.exchange(BATCH)
    calls = next(plan)
    for number in range(REDIRECTS):
        moved: Any = [[ErrorReply(f"MOVED {KEY_SLOT} {'ab'[number % 2]}:1")]]
        calls = plan.send([*moved, *[drawn(A, B, C) for call in calls if call.scout]])
    with pytest.raises(BackendUnavailable, match="more than 3 times"):
        plan.send([[ErrorReply(f"MOVED {KEY_SLOT} c:1")], *[drawn(A, B, C) for call in calls if call.scout]])


def test_a_node_that_fails_is_asked_about(cluster: Cluster, clock: ManualClock) -> None:
    """When a node fails another draws the map: if the slots have a new owner the request is begun again, else it fails.
    That is not repeated for a quarter of a second."""
    plan = cluster.exchange(BATCH)
    next(plan)
    [question] = plan.send([BackendTimeout("no answer")])
    assert question.scout
    assert question.address != A
    with pytest.raises(BackendTimeout, match="no answer"):
        plan.send([drawn(A, B, C)])
    plan = cluster.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendTimeout):
        plan.send([BackendTimeout("no answer")])
    clock.advance(0.3)
    plan = cluster.exchange(BATCH)
    # Nobody has heard of it since it failed.
    assert len(next(plan)) == 2
    with pytest.raises(LinkLost, match="another node serves"):
        plan.send([BackendTimeout("no answer"), drawn(B, C)])


def test_a_slot_that_nobody_serves(clock: ManualClock) -> None:
    """A key whose slot has no owner is asked of nobody (R9), and the map is asked for again before the next request."""
    cluster = Cluster(read_settings("redis+cluster://a:1", {}), clock)
    plan = cluster.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendUnavailable, match=f"slot {KEY_SLOT}"):
        plan.send([[[[0, 1, [b"a", 1, b"id"]]]]])
    [question] = next(cluster.exchange(BATCH))
    assert question.scout


def test_a_refusal_that_will_pass_asks_for_the_map(cluster: Cluster, clock: ManualClock) -> None:
    """CLUSTERDOWN is the reply, and the next request asks for the map first."""
    plan = cluster.exchange(BATCH)
    next(plan)
    down = ErrorReply("CLUSTERDOWN The cluster is down")
    assert finished(plan, [[down]]) == [down]
    [question] = next(cluster.exchange(BATCH))
    assert question.scout


def test_maps_are_asked_for_until_a_node_answers(clock: ManualClock) -> None:
    """Seeds that are down, that know of no cluster, or that send rubbish are passed over."""
    cluster = Cluster(read_settings("redis+cluster://down,fresh,odd,a:1", {}), clock)
    plan = cluster.exchange(BATCH)
    assert next(plan)[0].address.host == "down"
    assert plan.send([BackendUnavailable("down")])[0].address.host == "fresh"
    assert plan.send([[[]]])[0].address.host == "odd"
    assert plan.send([[b"OK"]])[0].address == A
    assert plan.send([drawn(A)]) == [Call(A, BATCH)]


def test_a_server_without_a_cluster(clock: ManualClock) -> None:
    """The error says that this server is not a node of a cluster."""
    plan = Cluster(read_settings("redis+cluster://a:1", {}), clock).exchange(BATCH)
    next(plan)
    with pytest.raises(BackendMisconfigured, match="not a node of a cluster"):
        plan.send([[ErrorReply("ERR This instance has cluster support disabled")]])


# -- sentinels -------------------------------------------------------------------------------------


def names(port: int, epoch: int) -> list[Any]:
    """The replies of a sentinel that names 127.0.0.1:port."""
    return [[b"127.0.0.1", b"%d" % port], [b"name", b"shop", b"config-epoch", b"%d" % epoch]]


@pytest.fixture
def plans(clock: ManualClock) -> Sentinels:
    """Plans for a service with three sentinels."""
    return Sentinels(read_settings("redis+sentinel://s1,s2,s3/shop", {}), clock)


def test_the_newest_answer_counts(plans: Sentinels) -> None:
    """Of sentinels that disagree the one with the highest epoch is believed, and one without an answer is not."""
    plan = plans.exchange(BATCH)
    assert [call.address.host for call in next(plan)] == ["s1", "s2", "s3"]
    asked = plan.send([names(1, epoch=7), names(2, epoch=8), BackendUnavailable("down")])
    assert asked[0] == Call(Address("127.0.0.1", 2), BATCH)


def test_a_primary_is_believed_for_a_second(plans: Sentinels, clock: ManualClock) -> None:
    """For a second after it was named it is asked alone; later the sentinels are asked along, in the same step, however
    well it answers."""
    plan = plans.exchange(BATCH)
    next(plan)
    assert len(plan.send([names(1, epoch=7)] * 3)) == 1
    assert finished(plan, [ROW]) == ROW
    clock.advance(0.4)
    for _ in range(3):
        plan = plans.exchange(BATCH)
        assert len(next(plan)) == 1
        assert finished(plan, [ROW]) == ROW
    clock.advance(0.7)
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 4
    with pytest.raises(BackendUnavailable, match="no longer the primary"):
        plan.send([["row"], names(1, epoch=7), names(2, epoch=8), names(1, epoch=7)])


def test_a_primary_is_confirmed_before_the_second_is_over(plans: Sentinels, clock: ManualClock) -> None:
    """In the second half of the second one request asks the sentinels along, and does not need their answer."""
    plan = plans.exchange(BATCH)
    next(plan)
    plan.send([names(1, epoch=7)] * 3)
    assert finished(plan, [ROW]) == ROW
    clock.advance(0.6)
    for answers, asked in [([names(1, epoch=7)] * 3, 4), (None, 1), (None, 1)]:
        plan = plans.exchange(BATCH)
        assert len(next(plan)) == asked
        assert finished(plan, [ROW, *(answers or ())]) == ROW
    clock.advance(0.6)
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 4
    assert finished(plan, [ROW, *[BackendUnavailable("down")] * 3]) == ROW
    clock.advance(0.1)
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 1
    assert finished(plan, [ROW]) == ROW
    clock.advance(0.4)
    plan = plans.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendUnavailable, match="no sentinel"):
        plan.send([ROW, *[BackendUnavailable("down")] * 3])


def test_an_older_answer_does_not_count(plans: Sentinels, clock: ManualClock) -> None:
    """While the sentinel that told of a failover is silent the others are not believed who have not heard of it."""
    plan = plans.exchange(BATCH)
    next(plan)
    plan.send([names(1, epoch=7), names(2, epoch=8), names(1, epoch=7)])
    assert finished(plan, [ROW]) == ROW
    for silent, believed in [(True, False), (False, True)]:
        clock.advance(1.1)
        plan = plans.exchange(BATCH)
        asked = next(plan)
        second = BackendUnavailable("down") if silent else names(1, epoch=7)
        with pytest.raises(BackendUnavailable, match="no longer the primary" if believed else "silent"):
            plan.send([ROW, names(1, epoch=7), second, names(1, epoch=7)])
        assert len(asked) == 4
        clock.advance(10.1)


def test_a_sentinel_that_does_not_answer_is_passed_over(plans: Sentinels, clock: ManualClock) -> None:
    """It costs a timeout, so it is asked again only after ten seconds, or when no other answers either."""
    down = BackendUnavailable("down")
    plan = plans.exchange(BATCH)
    next(plan)
    plan.send([names(1, epoch=7), down, names(1, epoch=7)])
    assert finished(plan, [ROW]) == ROW
    for _ in range(3):
        clock.advance(1.1)
        plan = plans.exchange(BATCH)
        assert [call.address.host for call in next(plan)] == ["127.0.0.1", "s1", "s3"]
        assert finished(plan, [ROW, *[names(1, epoch=7)] * 2]) == ROW
    clock.advance(1.1)
    plan = plans.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendUnavailable, match="no sentinel"):
        plan.send([ROW, down, down])
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 4
    assert finished(plan, [ROW, *[names(1, epoch=7)] * 3]) == ROW
    clock.advance(10.1)
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 4


def test_an_unheard_primary_is_not_believed_when_no_sentinel_answers(plans: Sentinels, clock: ManualClock) -> None:
    """What nobody confirms is not returned."""
    plan = plans.exchange(BATCH)
    next(plan)
    plan.send([names(1, epoch=7)] * 3)
    assert finished(plan, [ROW]) == ROW
    clock.advance(1.1)
    plan = plans.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendUnavailable, match="no sentinel"):
        plan.send([["row"], *[BackendUnavailable("down")] * 3])


def test_sentinels_are_not_asked_all_the_time(plans: Sentinels, clock: ManualClock) -> None:
    """While the primary is down every quarter of a second one request asks for another; the rest fail at once."""
    down = BackendUnavailable("down")
    plan = plans.exchange(BATCH)
    next(plan)
    plan.send([names(1, epoch=7)] * 3)
    assert len(plan.send([down])) == 3
    with pytest.raises(BackendUnavailable, match="down"):
        plan.send([names(1, epoch=7)] * 3)
    plan = plans.exchange(BATCH)
    assert len(next(plan)) == 1
    with pytest.raises(BackendUnavailable, match="down"):
        plan.send([down])
    clock.advance(0.3)
    plan = plans.exchange(BATCH)
    next(plan)
    assert len(plan.send([down])) == 3
    with pytest.raises(LinkLost, match="is the primary now"):
        plan.send([names(2, epoch=8)] * 3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_primary_that_was_demoted(plans: Sentinels, count: int) -> None:
    """READONLY has not been carried out: the sentinels are asked, and the operation is begun again; one of several
    commands may have been carried out before."""
    plan = plans.exchange(BATCH * count)
    next(plan)
    plan.send([names(1, epoch=7)] * 3)
    assert len(plan.send([["row"] * (count - 1) + [ErrorReply("READONLY You can't write against a replica.")]])) == 3
    with pytest.raises(LinkLost) as lost:
        plan.send([names(2, epoch=8)] * 3)
    assert lost.value.sent == (count > 1)


@pytest.mark.parametrize(
    "replies",
    [
        [None, None],
        [[b"host"], [b"config-epoch", b"1"]],
        [[b"host", b"port"], [b"config-epoch", b"1"]],
        [[b"host", b"1"], [b"config-epoch"]],
        [[b"host", b"1"], None],
        [7, 7],
        [ErrorReply("ERR No such master with that name")] * 2,
        [ErrorReply("NOAUTH Authentication required.")] * 2,
    ],
)
def test_answers_that_nobody_can_read(plans: Sentinels, replies: list[Any]) -> None:
    """A sentinel that sends anything else is one that does not answer."""
    plan = plans.exchange(BATCH)
    next(plan)
    with pytest.raises(BackendError, match="shop"):
        plan.send([replies] * 3)
