"""dogpile.cache under SQLAlchemy's sessions, by the recipe that SQLAlchemy's documentation describes.

    listen(sessions, region)
    session.scalars(select(City).where(City.id == 3).options(FromCache()))       # the result comes from the region
    session.scalars(select(Shop).options(RelationshipCache(Shop.city)))          # lazy loads of shop.city do

Written anew from the description of its example "Dogpile Caching"
(https://docs.sqlalchemy.org/en/20/orm/examples.html#module-examples.dogpile_caching): an option on a statement, which
a listener of the session's ``do_orm_execute`` sees; the result of the statement is frozen and stored under the text of
the statement and its parameters; a result that was stored is merged into the session that asks, without a query.

What stands in the region is outdated by nothing but its age, and of a region in memory every session copies its
columns from the same instance.
"""

from typing import Any

from dogpile.cache import CacheRegion
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, QueryableAttribute
from sqlalchemy.orm.interfaces import UserDefinedOption
from sqlalchemy.orm.loading import merge_frozen_result


class FromCache(UserDefinedOption):
    """The result of this statement comes from the region."""


class RelationshipCache(UserDefinedOption):
    """What lazy loads of this relationship find comes from the region."""

    propagate_to_loaders = True

    def __init__(self, attribute: QueryableAttribute[Any]) -> None:
        super().__init__()
        # Names: an instance remembers the options it was loaded with, and is pickled with them.
        self._owner, self._name = attribute.class_, attribute.key

    def loads(self, state: ORMExecuteState) -> bool:
        """Whether the statement is such a lazy load."""
        path = state.loader_strategy_path
        if not path:
            return False
        mapper, relationship = path[-2], path[-1]
        return relationship.key == self._name and issubclass(mapper.class_, self._owner)


def listen(sessions: Any, region: CacheRegion) -> None:
    """Let all sessions of this sessionmaker use the region where a statement has one of the options."""
    texts: dict[Any, str] = {}

    def on_execute(state: ORMExecuteState) -> Any:
        if not any(
            isinstance(option, FromCache) or (isinstance(option, RelationshipCache) and option.loads(state))
            for option in state.user_defined_options
        ):
            return None
        statement: Any = state.statement
        key = statement._generate_cache_key().to_offline_string(texts, statement, state.parameters or {})
        frozen = region.get_or_create(key, lambda: state.invoke_statement().freeze())
        return merge_frozen_result(state.session, statement, frozen, load=False)()

    event.listen(sessions, "do_orm_execute", on_execute)
