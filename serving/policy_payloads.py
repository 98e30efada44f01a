"""What callers send to change what is in force, and what they get back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from serving.payloads import Identifier, Strict, examples

MAX_AGREED = 50  # owners who agree to one change
MOST_LISTED = 1000  # lines of the history in one answer
Owner = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Share = Annotated[float, Field(gt=0, le=1)]


class Signature(Strict):
    """Who changes what is in force, and why; both are on record for good."""

    model_config = examples({"owner": "growth", "reason": "Clicks pay less since June."})

    owner: Owner = Field(description="who changes it: an owner, as policy files name them")
    reason: Reason = Field(description="why, for the history")


class PolicyChoices(Signature):
    """How a policy is put in force."""

    base: Identifier | None = Field(
        default=None,
        description="the version, or its number in the history, that it was made from; needed once there is a history",
    )
    approved_by: list[Owner] = Field(
        default_factory=list, max_length=MAX_AGREED, description="owners who agreed to what changes of theirs"
    )
    share: Share = Field(
        default=1.0, description="of the shoppers who see it; below 1 = a trial beside the policy in force"
    )
    merge: bool = Field(default=False, description="bring together with what others published since the base")
    despite: bool = Field(default=False, description="although a guardrail is expected to break; stays on record")
    reviewed: bool = Field(default=False, description="guardrails are held against this version from now on")


class PolicyUpdate(PolicyChoices):
    """A value policy, and how it is put in force."""

    model_config = examples(
        {
            "policy": 'name = "default"\nowner = "growth"\nreason = "Clicks pay less."\n...',
            "owner": "growth",
            "reason": "Clicks pay less since June.",
            "base": "7",
            "share": 0.1,
        }
    )

    policy: str | dict[str, Any] = Field(description="the policy file: its TOML as a text, or the same as JSON")


class Rollback(Signature):
    """Back to a version of the history."""

    model_config = examples({"owner": "growth", "reason": "Complaints."})

    number: int | None = Field(
        default=None, ge=1, le=10**9, description="null = end the trial, or else the version before"
    )


class VersionNumber(Strict):
    """Which version of the history."""

    number: int = Field(ge=0, le=10**9)


class BundleId(Strict):
    """Which bundle."""

    bundle_id: Identifier = Field(description="as /v1/bundles names it")


class HistoryPage(Strict):
    """Which lines of the history."""

    most: int = Field(default=50, ge=1, le=MOST_LISTED, description="lines at a time, the newest first")
    before: int | None = Field(default=None, ge=1, le=10**9, description="only lines whose number is lower")


class ServedPolicyText(BaseModel):
    """A value policy."""

    name: str
    version: str = Field(description="content hash; slates carry it as policy_version")
    owner: str
    reason: str
    toml: str = Field(description="the policy file")


class PolicyTrialAnswer(BaseModel):
    """A policy that a share of the shoppers sees."""

    share: float
    policy: ServedPolicyText


class ServedBundle(BaseModel):
    """The bundle that serves."""

    id: str = Field(description="its folder's name")
    version: str = Field(description="content hash")


class VersionLine(BaseModel):
    """One line of the history: who put which policy in force, when, why, and over which."""

    number: int
    version: str
    kind: str = Field(description="found, published, staged, unstaged, rolled back, activated")
    at: str = Field(description="RFC 3339")
    owner: str
    reason: str
    key: str = Field(description="name of the API key; empty = by the command, or without keys")
    base: str = Field(description="version that was in force before")
    bundle: str = Field(description="the bundle that was activated with it; empty = the models stayed")
    share: float
    approved_by: list[str]
    reviewed: bool
    noted: list[str] = Field(description="warnings and broken guardrails that the owner saw")
    predicted: dict[str, str] = Field(description="expected relative change by metric")
    changes: list[str] = Field(description="what differs from the version before, part by part")


class PolicyAnswer(BaseModel):
    """What is in force."""

    policy: ServedPolicyText
    trial: PolicyTrialAnswer | None
    bundle: ServedBundle
    record: VersionLine | None = Field(description="the newest line of the history; null = nothing was published yet")
    warnings: list[str] = Field(description="experiments whose control is what is published")


class PolicyHistory(BaseModel):
    """Lines of the history, the newest first."""

    records: list[VersionLine]


class VersionAnswer(BaseModel):
    """A version of the history."""

    record: VersionLine
    policy: ServedPolicyText
    diff: str = Field(description="of the policy file against the version before, unified")


class BundleRow(BaseModel):
    """A bundle of the service's folder."""

    id: str
    in_force: bool
    version: str | None = Field(description="content hash; null = its manifest cannot be read")
    versions: dict[str, str] = Field(description="of its parts")
    staged_share: float | None = Field(description="of the shoppers who see the policy that it has on trial")
    problem: str | None = Field(description="why it cannot serve, as far as a look tells; activation checks all of it")


class BundleList(BaseModel):
    """The bundles of the service's folder, the newest first."""

    bundles: list[BundleRow]
