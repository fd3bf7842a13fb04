"""The world of the explorer: every step that leads out of a state."""

from collections.abc import Iterator
from typing import Any

from cachecore.entries import INCARNATION_BYTES, Entry, Value, decode_entry, encode_entry
from cachecore.errors import BackendTimeout
from cachecore.operations import Journal, Load, Query, QueryMany
from cachecore.testing import model
from cachecore.testing.model import Noted, Part, Version, contents, row_of
from cachecore.testing.program import Program
from cachecore.testing.promises import Broken, check_own, check_read, raised_by_commit, raised_by_read
from cachecore.testing.scene import DEAD, ENDED, FAULTS, Local, Scene, State, Step


class World:
    """The steps of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._programs = [Program(actor.program) for actor in scene.actors]
        names = [actor.name for actor in scene.actors]
        self._twins = [None if actor.twin is None else names.index(actor.twin) for actor in scene.actors]
        self._keys = list(scene.keys)
        self._places = {version[0]: place for place, version in enumerate(scene.rows)}
        self._carried: dict[tuple[Any, ...], tuple[bytes | None, Any]] = {}
        self.checked = {"P2"}
        """The promises that somebody has had an occasion to break."""

    def first(self) -> State:
        """The state in which nobody has begun."""
        stored = (self.scene.stored.get(key) for key in self._keys)
        cache = tuple(None if entry is None else encode_entry(entry, _incarnation(0)) for entry in stored)
        actors = tuple(Local() for _ in self.scene.actors)
        budgets = tuple(self.scene.faults.get(fault, 0) for fault in FAULTS)
        return State((self.scene.rows,), cache, None, 0, actors, (), ((0, 0),) * len(self._places), budgets)

    def steps(self, state: State) -> Iterator[Step]:
        """Every step that can be next."""
        for who, local in enumerate(state.actors):
            twin = self._twins[who]
            after_twin = twin is not None and local == Local() and state.actors[twin] == Local()
            if local.node >= 0 and not after_twin:
                yield from self._turns(state, who, local)
        for index, part in enumerate(state.late):
            rest = state._replace(late=state.late[:index] + state.late[index + 1 :])
            if part[0] == "commit":
                yield Step(("late", "COMMIT is done"), _committed(rest, *part[1:]))
                yield Step(("late", "COMMIT is never done"), rest)
            else:
                yield Step(("late", part), self._carry_out(rest, part)[0])
        yield from self._faults(state)

    def living(self, state: State) -> bool:
        """Whether somebody has not ended."""
        return any(local.node >= 0 for local in state.actors)

    def outdated(self, state: State) -> str | None:
        """The row that would be believed for ever, though it is not what the database has, if everybody has left.

        What the journal notes will be outdated by its next replay, which deletes the note only then.
        """
        if any(local.node >= 0 and local != Local() for local in state.actors):
            return None
        entries = {key: self._entry(state, raw) for key, raw in zip(self._keys, state.cache, strict=True)}
        stamp = self.scene.fingerprint
        if self.scene.epoch_key is not None:
            epoch = entries[self.scene.epoch_key]
            if not isinstance(epoch, Value):
                return None
            stamp = epoch.stamp + stamp
        rows = contents(state.commits)
        noted = {key for (_, keys), _ in state.journal for key in keys}
        if self.scene.epoch_key in noted:
            return None
        for key, identity in self.scene.keys.items():
            entry = entries[key]
            if identity is not None and key not in noted and isinstance(entry, Value) and entry.stamp == stamp:
                row = self.scene.load(entry.payload)
                if row != row_of(rows[identity]):
                    return f"{key} keeps {row}, the database has {rows[identity]}"
        for key, is_true in self.scene.claims.items():
            entry = entries[key]
            if key in noted or not isinstance(entry, Value) or entry.stamp != stamp:
                continue
            content = self.scene.load(entry.payload)
            if not is_true(content, rows):
                return f"{key} keeps {content}, the database has {list(rows.values())}"
        return None

    # -- actors ------------------------------------------------------------------------------------

    def _turns(self, state: State, who: int, local: Local) -> Iterator[Step]:
        """What the actor may do next, and what may befall it."""
        actor = self.scene.actors[who]
        if actor.reads and local.began is None:
            local = local._replace(began=state.floors)
        node = self._programs[who].nodes[local.node]
        if not node.parts:
            yield from self._statement(state, who, local)
        silent = isinstance(node.operation, model.SILENT)
        done = dict(local.done)
        for index, part in enumerate(node.parts):
            if index in done:
                continue
            after, reply = self._carry_out(state, part)
            replies = {**done, index: None if silent else reply}
            cause = (actor.name, part) if silent else (actor.name, part, reply)
            if len(replies) < len(node.parts):
                half = local._replace(done=tuple(sorted(replies.items())))
                yield Step(cause, _with(after, who, half))
            else:
                whole = None if silent else [replies[place] for place in sorted(replies)]
                yield self._advance(cause, after, who, local, whole)
        if node.parts and (spent := _spend(state, "timeout")):
            rest = tuple(part for index, part in enumerate(node.parts) if index not in done)
            after = spent._replace(late=state.late + rest)
            yield self._advance((actor.name, "gets no answer to", *rest), after, who, local, BackendTimeout)
        if state.actors[who] != Local() and (spent := _spend(state, "crash")):
            yield Step((actor.name, "is killed"), _with(spent, who, Local(DEAD)))

    def _statement(self, state: State, who: int, local: Local) -> Iterator[Step]:
        """An operation that is not the cache's."""
        operation = self._programs[who].nodes[local.node].operation
        cause = (self.scene.actors[who].name, operation)
        ended = local._replace(writes=(), snapshot=None, noted=())
        if isinstance(operation, model.Write | model.Statement):
            if {version[0] for version in operation.versions} & self._locked(state, who):
                return
            local = local._replace(writes=local.writes + operation.versions)
        if isinstance(operation, model.Commit | model.Statement):
            done = _committed(state, local.writes, (who, local.noted))
            yield self._advance(cause, done, who, ended, None)
            in_doubt = (*state.late, ("commit", local.writes, (who, local.noted)))
            if local.writes and (spent := _spend(state, "unknown")):
                yield self._advance((*cause, "breaks"), spent._replace(late=in_doubt), who, ended, model.CommitUnknown)
            if local.writes and (spent := _spend(state, "crash")):
                yield Step((*cause, "and is killed"), _with(spent._replace(late=in_doubt), who, Local(DEAD)))
        elif isinstance(operation, model.Rollback):
            yield self._advance(cause, state, who, ended, None)
        elif isinstance(operation, model.Send):
            after = state._replace(late=(*state.late, *model.parts_of(operation.operation)))
            yield self._advance(cause, after, who, local, None)
        elif isinstance(operation, Journal):
            yield self._advance(cause, state, who, local._replace(noted=tuple(operation.keys)), None)
        elif isinstance(operation, model.Announce | model.Settle | model.DeleteNotes):
            yield self._advance(cause, _journaling(state, who, operation), who, local, None)
        elif isinstance(operation, model.Snapshot):
            yield self._advance(cause, state, who, local._replace(snapshot=len(state.commits)), None)
        else:
            reply = self._read(state, local, operation)
            yield self._advance((*cause, reply), state, who, local, reply)

    def _locked(self, state: State, who: int) -> set[int]:
        """The rows that others than this actor have locked."""
        open_writes = [other.writes for place, other in enumerate(state.actors) if place != who]
        in_doubt = [part[1] for part in state.late if part[0] == "commit"]
        return {version[0] for versions in (*open_writes, *in_doubt) for version in versions}

    def _read(self, state: State, local: Local, operation: object) -> Any:
        """What a SELECT finds: one's own writes, and what was committed when it or its snapshot began."""
        rows = contents((*state.commits[: local.snapshot], local.writes))
        match operation:
            case Load(identities):
                asked = [version for version in rows.values() if version[0] in identities]
                return {version[0]: version for version in asked if row_of(version) is not None}
            case Query((slug,)):
                return next(((version[0], version) for version in rows.values() if version[2] == slug), None)
            case QueryMany(values):
                return [(version[0], version) for version in rows.values() if (version[2],) in values]
            case model.ReadJournal():
                in_doubt = {part[2][0] for part in state.late if part[0] == "commit"}
                return [
                    (*note, not pending or (state.actors[note[0]].node < 0 and note[0] not in in_doubt))
                    for note, pending in state.journal
                ]
            case _:
                return None

    def _advance(self, cause: tuple[Any, ...], state: State, who: int, local: Local, reply: Any) -> Step:
        """The step after which the actor has got ``reply``; what is to be checked then, is."""
        program = self._programs[who]
        number = program.after(local.node, reply)
        node = program.nodes[number]
        broken: list[Broken] = []
        began = local.began
        for check in node.checks:
            match check:
                case model.Acknowledged(versions):
                    floors = raised_by_commit(versions, state.commits, state.floors, self._places)
                    state = state._replace(floors=floors)
                case model.Own():
                    self.checked.add("P4")
                    broken.extend(check_own(check, local.writes))
                case model.Returned():
                    assert began is not None, "an actor that returns rows is declared with reads=True"
                    self.checked.update(("P0", "P1", "P3") if check.asked is None else ("P0", "P1", "P3", "LK"))
                    broken.extend(check_read(check, state.commits, began, self._places))
                    floors = raised_by_read(check, state.commits, began, state.floors, self._places)
                    state = state._replace(floors=floors)
                    local = local._replace(began=None)
        ended = Local(ENDED) if node.operation is None else local._replace(node=number, done=())
        return Step(cause, _with(state, who, ended), tuple(broken))

    # -- the cache and what befalls it -------------------------------------------------------------

    def _entry(self, state: State, raw: bytes | None) -> Entry | None:
        return None if raw is None else decode_entry(raw, _incarnation(state.incarnation))

    def _carry_out(self, state: State, part: Part) -> tuple[State, Any]:
        """(the state afterwards, the reply)."""
        place = self._keys.index(part[1])
        raw = state.cache[place]
        done = self._carried.get((part, raw, state.incarnation))
        if done is None:
            entry, reply = self.scene.rules.apply(part, self._entry(state, raw))
            after = None if entry is None else encode_entry(entry, _incarnation(state.incarnation))
            done = self._carried[part, raw, state.incarnation] = after, reply
        return _stored(state, place, done[0]), done[1]

    def _faults(self, state: State) -> Iterator[Step]:
        """What befalls the cache by itself."""
        for place, raw in enumerate(state.cache):
            for fault, what, entry in model.decayed(self._entry(state, raw)):
                if spent := _spend(state, fault):
                    bytes_left = None if entry is None else encode_entry(entry, _incarnation(state.incarnation))
                    yield Step(("fault", self._keys[place], what), _stored(spent, place, bytes_left))
        incarnation = state.incarnation + self.scene.rules.incarnations
        if spent := _spend(state, "restart"):
            empty = (None,) * len(state.cache)
            yield Step(("fault", "restart, empty"), spent._replace(cache=empty, incarnation=incarnation))
        if state.copy is None and _spend(state, "failover"):
            yield Step(("fault", "replication stops"), state._replace(copy=state.cache))
        if state.copy is not None and (spent := _spend(state, "failover")):
            after = spent._replace(cache=state.copy, copy=None, incarnation=incarnation)
            yield Step(("fault", "failover to the replica"), after)


def _committed(state: State, writes: tuple[Version, ...], note: Noted) -> State:
    """After a commit of rows and, in the same transaction, of a row of the journal."""
    after = state._replace(commits=(*state.commits, writes)) if writes else state
    return _with_note(after, note, pending=False) if note[1] else after


def _with_note(state: State, note: Noted, *, pending: bool) -> State:
    return state._replace(journal=tuple(sorted({*state.journal, (note, pending)})))


def _journaling(state: State, who: int, operation: model.Announce | model.Settle | model.DeleteNotes) -> State:
    """After a statement, committed at once, that changes the journal."""
    match operation:
        case model.Announce(keys, pending):
            return _with_note(state, (who, tuple(keys)), pending=pending)
        case model.Settle():
            return state._replace(journal=tuple((note, pending and note[0] != who) for note, pending in state.journal))
        case model.DeleteNotes(rows):
            return state._replace(journal=tuple(one for one in state.journal if one[0] not in rows))


def _incarnation(number: int) -> bytes:
    return number.to_bytes(INCARNATION_BYTES, "big")


def _with(state: State, who: int, local: Local) -> State:
    return state._replace(actors=(*state.actors[:who], local, *state.actors[who + 1 :]))


def _stored(state: State, place: int, raw: bytes | None) -> State:
    if state.cache[place] == raw:
        return state
    return state._replace(cache=(*state.cache[:place], raw, *state.cache[place + 1 :]))


def _spend(state: State, fault: str) -> State | None:
    """The state in which one fault less may happen; None if none may."""
    place = FAULTS.index(fault)
    left = state.budgets[place]
    if not left:
        return None
    return state._replace(budgets=(*state.budgets[:place], left - 1, *state.budgets[place + 1 :]))
