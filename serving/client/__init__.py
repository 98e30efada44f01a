"""The Python client of the service: typed calls, sync and async, with retries, time-outs and problems as exceptions.

from serving.client import Client, ClientSettings, RecommendRequest

with Client("http://localhost:8080", ClientSettings(key="...")) as service:
    answer = service.recommend(RecommendRequest(surface="home", user_id="u1", k=5))
    print([item.item_id for item in answer.items])
"""

from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.client.exchange import ClientSettings
from serving.client.failures import NoAnswer, ServiceProblem
from serving.client.retries import RetryPolicy
from serving.page_payloads import PageAnswer, PageRequest
from serving.payloads import (
    FeedbackAnswer,
    FeedbackEvent,
    FeedbackRequest,
    Filters,
    RankRequest,
    RecommendRequest,
    SearchRequest,
    SlateAnswer,
)
from serving.policy_payloads import PolicyUpdate, Rollback, Signature

__all__ = [
    "AsyncClient",
    "Client",
    "ClientSettings",
    "FeedbackAnswer",
    "FeedbackEvent",
    "FeedbackRequest",
    "Filters",
    "NoAnswer",
    "PageAnswer",
    "PageRequest",
    "PolicyUpdate",
    "RankRequest",
    "RecommendRequest",
    "RetryPolicy",
    "Rollback",
    "SearchRequest",
    "ServiceProblem",
    "Signature",
    "SlateAnswer",
]
