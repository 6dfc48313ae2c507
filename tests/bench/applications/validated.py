"""A FastAPI application as people write them: a JSON body is validated into a model, the model is answered."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI(openapi_url=None)


class Item(BaseModel):
    """One line of an order."""

    name: str = Field(min_length=1, max_length=80)
    price: float = Field(gt=0)
    quantity: int = Field(ge=1, le=1000)
    tags: list[str] = Field(default_factory=list, max_length=10)


class Order(BaseModel):
    """What the client posts and gets back."""

    number: int = Field(ge=0)
    customer: str = Field(pattern=r"^[a-z.]+@[a-z.]+$")
    items: list[Item] = Field(min_length=1, max_length=100)


@app.get("/")
async def ready() -> dict[str, bool]:
    """What the harness asks while it waits for the server."""
    return {"ready": True}


@app.post("/orders")
async def orders(order: Order) -> Order:
    return order
