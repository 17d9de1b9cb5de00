"""SQLAlchemy with Alembic through pgmux, with each of its three drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from tests.fixtures.pooler import MakePooler, Pooler

ENV = """
from alembic import context
from sqlalchemy import create_engine
from tests.e2e.frameworks.test_sqlalchemy import Base

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""


class Base(DeclarativeBase):
    """The tables."""


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    orders: Mapped[list[Order]] = relationship(back_populates="customer")


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customer.id"))
    amount: Mapped[int]
    customer: Mapped[Customer] = relationship(back_populates="orders")


@pytest.fixture(scope="module")
def front(module_pooler: MakePooler) -> Pooler:
    """A transaction pool of three servers."""
    return module_pooler(settings={"default_pool_size": 3})


def url(front: Pooler, database: str, driver: str) -> str:
    return front.dsn(database).replace("postgresql://", f"postgresql+{driver}://")


def use(engine: sa.Engine) -> None:
    """Rows in, rows out, an error, a savepoint, a streamed result."""
    with Session(engine) as session:
        for n in range(20):
            session.add(Customer(name=f"c{n}", orders=[Order(amount=a) for a in range(5)]))
        session.commit()
        total = session.scalar(sa.select(sa.func.sum(Order.amount)))
        assert total == 200
        with pytest.raises(sa.exc.IntegrityError), session.begin_nested():
            session.execute(sa.insert(Customer).values(name="c0"))
        streamed = session.scalars(sa.select(Order).execution_options(yield_per=7))
        assert sum(order.amount for order in streamed) == 200
        names = session.scalars(sa.select(Customer.name).order_by(Customer.id).limit(2)).all()
        assert names == ["c0", "c1"]
        session.rollback()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_alembic_upgrades_and_downgrades_and_the_orm_works_in_between(
    front: Pooler, create_database: Callable[..., str], tmp_path: Path, driver: str
) -> None:
    target = url(front, create_database(), driver)
    config = Config(str(tmp_path / "alembic.ini"))
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    config.set_main_option("sqlalchemy.url", target.replace("%", "%%"))
    command.init(config, str(tmp_path / "migrations"))
    (tmp_path / "migrations/env.py").write_text(ENV)
    command.revision(config, "tables", autogenerate=True)
    command.upgrade(config, "head")
    engine = sa.create_engine(target)
    use(engine)
    command.check(config)  # raises where the tables differ from the models
    command.downgrade(config, "base")
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_many_tasks_share_few_servers_by_asyncpg(
    front: Pooler, create_database: Callable[..., str]
) -> None:
    # asyncpg's own and SQLAlchemy's statement caches stay on: prepared statements are the pooler's.
    engine = create_async_engine(url(front, create_database(), "asyncpg"), pool_size=10)

    async def work() -> int:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async def add(n: int) -> None:
            async with engine.begin() as connection:
                await connection.execute(sa.insert(Customer).values(name=f"c{n}"))

        await asyncio.gather(*map(add, range(50)))
        async with engine.connect() as connection:
            count = await connection.scalar(sa.select(sa.func.count()).select_from(Customer))
        await engine.dispose()
        return count or 0

    assert asyncio.run(work()) == 50
