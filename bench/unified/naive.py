"""What most people would write: one Celery task and one ORM commit per user, without ledger."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from backtrail import ids
from backtrail.catalog.unified_profile.fields import COLUMNS, INTENT_COLUMNS, PROFILE_COLUMNS
from backtrail.catalog.unified_profile.merge import (
    aggregate_shared_data,
    combine_intents,
    extract_context_intent,
    intent_completeness,
    shared_completeness,
    unmapped_fields,
)
from bench.tasks import DATABASE, make_app

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

app = make_app(__name__)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    contexts: Mapped[list[Context]] = relationship(order_by="Context.created_at, Context.id")


class Context(Base):
    __tablename__ = "context_profiles"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"))
    context_type: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))
    profiles: Mapped[list[Profile]] = relationship(order_by="Profile.created_at, Profile.id")


class Profile(Base):
    __tablename__ = "profiles"
    id: Mapped[str] = mapped_column(primary_key=True)
    context_profile_id: Mapped[str] = mapped_column(sa.ForeignKey("context_profiles.id"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))


LISTED = {
    "core_values",
    "beliefs",
    "interaction_style",
    "lifestyle",
    "constraints",
    "complementary_skills",
    "missing",
    "legacy_data",
}


def _columns(names: tuple[str, ...]) -> list[sa.Column[Any]]:
    kinds: dict[str, Any] = {"completeness": sa.Integer, "created_at": sa.DateTime(timezone=True)}
    kinds["updated_at"] = kinds["created_at"]
    return [sa.Column(name, JSON if name in LISTED else kinds.get(name, sa.Text), primary_key=name == "id") for name in names]


class UnifiedProfile(Base):
    __table__ = sa.Table("unified_profiles", Base.metadata, *_columns(PROFILE_COLUMNS))


class ContextIntent(Base):
    __table__ = sa.Table("context_intents", Base.metadata, *_columns(INTENT_COLUMNS))


@cache
def _engine() -> sa.Engine:
    arguments = {"timeout": 60} if os.environ[DATABASE].startswith("sqlite") else {}
    return sa.create_engine(os.environ[DATABASE].replace("postgresql:", "postgresql+psycopg:"), connect_args=arguments)


@app.task
def migrate(user_id: str) -> None:
    """One user, in a session and a transaction of its own."""
    with Session(_engine()) as session:
        user = session.get_one(User, user_id)
        now = dt.datetime.now(dt.UTC)
        shared, legacy = [], []
        intents: dict[str, list[dict[str, Any]]] = {}
        for context in user.contexts:
            pieces = intents.setdefault(context.context_type, [])
            for profile in context.profiles:
                shared.append(profile.data)
                pieces.append(extract_context_intent(context.context_type, profile.data))
                if strays := unmapped_fields(context.context_type, profile.data):
                    legacy.append({"profile_id": profile.id, "context_type": context.context_type, "fields": strays})
        values = aggregate_shared_data(shared).values
        percent, missing = shared_completeness(values)
        times = {"created_at": now, "updated_at": now}
        row = {COLUMNS[field]: value for field, value in values.items()}
        row |= {"completeness": percent, "missing": missing, "legacy_data": legacy or None, **times}
        session.add(UnifiedProfile(id=str(_id(user_id, "profile")), user_id=user_id, **row))
        for context_type, pieces in intents.items():
            values = combine_intents(context_type, pieces or [{}]).values
            percent, missing = intent_completeness(context_type, values)
            row = {COLUMNS[field]: value for field, value in values.items()}
            row |= {"completeness": percent, "missing": missing, **times}
            session.add(
                ContextIntent(id=str(_id(user_id, "intent", context_type)), user_id=user_id, context_type=context_type, **row)
            )
        session.commit()


def _id(user_id: str, *label: str) -> uuid.UUID:
    return ids.new_uuid("unified-profile", user_id, label)
