"""/v1/policy and /v1/bundles: what is in force, its history, and how it changes; what serves follows the folder."""

from __future__ import annotations

from flask import Flask, Response, g, request

from serving.malformed import refused_by
from serving.policy_answers import bundle_list, history_answer, policy_answer, publish_request, version_answer
from serving.policy_payloads import HistoryPage, PolicyChoices, PolicyUpdate, Rollback, Signature
from serving.routes.bodies import Payload, body, json_answer, parse
from serving.routes.context import RouteContext
from value_model.formula import parse_policy

TOML = ("application/toml", "text/toml")
LISTED = "approved_by"  # may be repeated in the query


def add_policies(app: Flask, context: RouteContext) -> None:
    def in_force() -> Response:
        return json_answer(policy_answer(context.policies(), now=context.clock()).model_dump())

    @app.get("/v1/policy")
    def get_policy() -> Response:
        return in_force()

    @app.put("/v1/policy")
    def put_policy() -> Response:
        """The choices stand beside the policy in JSON; with TOML as the body, in the query."""
        if request.mimetype in TOML:
            choices, policy = _query(PolicyChoices), parse_policy(body(), file="policy")
        else:
            choices = update = parse(PolicyUpdate)
            policy = parse_policy(update.policy, file="policy")
        policies = context.policies()
        policies.put(policy, publish_request(choices, key=g.caller.name), now=context.clock())
        return in_force()

    @app.post("/v1/policy/rollback")
    def roll_back() -> Response:
        back = parse(Rollback)
        policies, now = context.policies(), context.clock()
        policies.roll_back(back.number, owner=back.owner, reason=back.reason, key=g.caller.name, now=now)
        return in_force()

    @app.get("/v1/policy/versions")
    def history() -> Response:
        return json_answer(history_answer(context.policies(), _query(HistoryPage)).model_dump())

    @app.get("/v1/policy/versions/<int:number>")
    def version(number: int) -> Response:
        return json_answer(version_answer(context.policies(), number).model_dump())

    @app.get("/v1/bundles")
    def bundles() -> Response:
        return json_answer(bundle_list(context.policies()).model_dump())

    @app.post("/v1/bundles/<bundle_id>/activate")
    def activate(bundle_id: str) -> Response:
        signature, policies = parse(Signature), context.policies()
        owner, reason, key = signature.owner, signature.reason, g.caller.name
        policies.activate(bundle_id, owner=owner, reason=reason, key=key, now=context.clock())
        return in_force()


def _query(model: type[Payload]) -> Payload:
    """The query as `model`."""
    values = request.args.to_dict()
    listed = {LISTED: request.args.getlist(LISTED)} if LISTED in values else {}
    with refused_by(model):
        return model.model_validate({**values, **listed}, strict=False)
