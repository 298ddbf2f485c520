"""The application taught by the documentation of FastAPI and SQLModel, neither tuned nor handicapped.

It has a match list, one match, a new match, and new commentary broadcast to WebSockets by the tutorial's manager.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Query, WebSocket, WebSocketDisconnect
from pydantic import AwareDatetime, BaseModel
from sqlalchemy import JSON, Column, DateTime
from sqlmodel import Field, Session, SQLModel, col, create_engine, select


class MatchBase(SQLModel):
    sport: str
    home_team: str
    away_team: str
    start_time: AwareDatetime = Field(sa_type=DateTime(timezone=True))
    end_time: AwareDatetime = Field(sa_type=DateTime(timezone=True))
    home_score: int = Field(default=0, ge=0)
    away_score: int = Field(default=0, ge=0)


class Match(MatchBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    status: str = "live"
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=DateTime(timezone=True), index=True)


class MatchPublic(MatchBase):
    id: int
    status: str
    created_at: datetime


class CommentaryBase(SQLModel):
    minute: int = Field(ge=0)
    sequence: int = 0
    period: int = 1
    event_type: str = "commentary"
    actor: str | None = None
    team: str | None = None
    message: str = Field(min_length=1)
    details: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    tags: list[str] | None = Field(default=None, sa_column=Column(JSON))


class Commentary(CommentaryBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    match_id: int = Field(foreign_key="match.id", index=True)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=DateTime(timezone=True))


class CommentaryPublic(CommentaryBase):
    id: int
    match_id: int
    created_at: datetime


class MatchOut(BaseModel):
    data: MatchPublic


class MatchesOut(BaseModel):
    data: list[MatchPublic]


class CommentaryOut(BaseModel):
    data: CommentaryPublic


class ConnectionManager:
    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> None:
        for connection in self.active_connections:
            await connection.send_text(message)


engine = create_engine(os.environ["TEXTBOOK_DATABASE_URL"])
SQLModel.metadata.create_all(engine)
manager = ConnectionManager()
app = FastAPI()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]


@app.get("/matches", response_model=MatchesOut)
def read_matches(session: SessionDep, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Any:
    return {"data": session.exec(select(Match).order_by(col(Match.created_at).desc()).limit(limit)).all()}


@app.get("/matches/{match_id}", response_model=MatchOut)
def read_match(match_id: int, session: SessionDep) -> Any:
    match = session.get(Match, match_id)
    if not match:
        raise HTTPException(status_code=404, detail="Match not found")
    return {"data": match}


@app.post("/matches", response_model=MatchOut, status_code=201)
def create_match(match: MatchBase, session: SessionDep) -> Any:
    db_match = Match.model_validate(match)
    session.add(db_match)
    session.commit()
    session.refresh(db_match)
    return {"data": db_match}


@app.post("/matches/{match_id}/commentary", response_model=CommentaryOut, status_code=201)
def create_commentary(match_id: int, commentary: CommentaryBase, session: SessionDep, tasks: BackgroundTasks) -> Any:
    if not session.get(Match, match_id):
        raise HTTPException(status_code=404, detail="Match not found")
    db_commentary = Commentary.model_validate(commentary, update={"match_id": match_id})
    session.add(db_commentary)
    session.commit()
    session.refresh(db_commentary)
    tasks.add_task(manager.broadcast, CommentaryPublic.model_validate(db_commentary).model_dump_json())
    return {"data": db_commentary}


@app.websocket("/ws")
async def websocket_endpoint(websocket: WebSocket) -> None:
    await manager.connect(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket)
