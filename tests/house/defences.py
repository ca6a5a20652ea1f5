"""Each defence of SECURITY.md, and how to switch it off in the code: the test named for the threat has to fail then.

`tests/house/switched_off.py` does it, in a copy. A house test sees that each row of the table has one here, and that each
piece of code is still there.
"""

from __future__ import annotations

from typing import NamedTuple


class Defence(NamedTuple):
    """`code`, which stands once in `file`, becomes `off`; then `test` (named in the table) has to fail."""

    test: str
    file: str
    code: str
    off: str


REQUESTS = "broker/domain/requests.py"
FITNESS = "broker/approvals/fitness.py"
CONFIRMED = "broker/domain/confirmations.py"
TOKENS = "broker/identity/access_tokens.py"

DEFENCES = (
    Defence(
        "test_everything_that_can_change_the_effect_changes_the_digest",
        "broker/domain/calls.py",
        '"arguments": self.arguments, "rest": rest}',
        '"arguments": {}, "rest": rest}',
    ),
    Defence(
        "test_what_is_judged_is_what_is_encoded_and_not_what_came_in",
        "broker/gateway/envelope.py",
        "return encoded(self.body)",
        "return self.raw",
    ),
    Defence(
        "test_headers_that_disagree_with_the_body_are_refused_before_parking",
        "broker/gateway/eras.py",
        "if head.method != message.method:",
        "if False:",
    ),
    Defence(
        "test_a_changed_tool_definition_voids_the_request",
        FITNESS,
        "if call.server in policy.servers and seen.digest != request.definition:",
        "if False:",
    ),
    Defence(
        "test_a_pinned_tool_that_changed_is_unknown_though_the_operator_lists_it",
        "broker/registry/catalogue.py",
        "(found is not None and found.digest == pinned) if pinned else",
        "True if pinned else",
    ),
    Defence(
        "test_a_policy_that_now_denies_rejects_the_approved_call",
        FITNESS,
        "if isinstance(decision, Deny):",
        "if False:",
    ),
    Defence(
        "test_a_stricter_policy_asks_for_what_is_missing",
        FITNESS,
        "isinstance(decision, RequireApproval) and not self._approved(request, decision, reviews)",
        "False",
    ),
    Defence(
        "test_a_member_removed_between_approval_and_release_reopens_the_request",
        FITNESS,
        "if await self._holds(review, people, name)]",
        "]",
    ),
    Defence(
        "test_a_user_who_left_the_group_between_asking_and_release_gets_nothing",
        FITNESS,
        "if isinstance(decision, Deny):",
        "if False:",
    ),
    Defence(
        "test_two_brokers_release_a_request_once",
        REQUESTS,
        "self._still(RequestState.APPROVED)\n        if self.release_by",
        "self._still(RequestState.APPROVED, RequestState.EXECUTING, RequestState.COMPLETED)\n        if self.release_by",
    ),
    Defence(
        "test_calls_that_run_when_the_broker_is_killed_end_unknown_and_are_not_run_again",
        "broker/approvals/janitor.py",
        "return request.lost(now)",
        'return request.failed(request.claim.fence if request.claim else 0, now, "gone")',
    ),
    Defence(
        "test_no_door_for_people_opens_to_an_agents_token",
        "broker/channels/web/visitors.py",
        "if found is None:\n        raise SignInNeeded",
        "if False:\n        raise SignInNeeded",
    ),
    Defence(
        "test_the_agents_owner_may_not_approve_what_it_asks_for",
        REQUESTS,
        "if self.call.caller.backed_by(review.reviewer):",
        "if False:",
    ),
    Defence(
        "test_owner_outsider_and_stranger_may_not_approve",
        REQUESTS,
        "if not {*self.plan.groups, *self.escalated} & set(review.groups):",
        "if False:",
    ),
    Defence(
        "test_nobody_is_asked_where_the_rule_does_not_say_so",
        CONFIRMED,
        "return request.plan.caller_confirms and not request.plan.step_up and bool",
        "return bool",
    ),
    Defence(
        "test_forged_replayed_foreign_and_misplaced_state_is_refused",
        "broker/gateway/sessions.py",
        "if not hmac.compare_digest(told, self._mac(kind, content, caller, server)):",
        "if False:",
    ),
    Defence(
        "test_one_person_counts_once", REQUESTS, "if earlier.reviewer.casefold() == review.reviewer.casefold():", "if False:"
    ),
    Defence(
        "test_two_people_are_needed_for_a_quorum_and_one_person_counts_once",
        REQUESTS,
        "if earlier.reviewer.casefold() == review.reviewer.casefold():",
        "if False:",
    ),
    Defence(
        "test_foreign_and_unknown_ids_read_alike",
        "broker/approvals/desk.py",
        "mine = request.call.caller.principal == caller.principal and caller.may_use(server)",
        "mine = True",
    ),
    Defence(
        "test_another_agent_reads_a_foreign_request_like_one_that_never_was",
        "broker/approvals/desk.py",
        "mine = request.call.caller.principal == caller.principal and caller.may_use(server)",
        "mine = True",
    ),
    Defence(
        "test_the_servers_session_is_sealed_and_a_stranger_gets_404",
        "broker/gateway/sessions.py",
        "bound = msgspec.json.encode([kind.decode(), caller.principal, server])",
        'bound = b"x"',
    ),
    Defence(
        "test_a_hostile_message_is_refused_and_goes_nowhere",
        "broker/gateway/envelope.py",
        "if len(members) != len(pairs):",
        "if False:",
    ),
    Defence(
        "test_a_token_signed_by_a_stranger_with_the_public_key_or_not_at_all_is_refused",
        TOKENS,
        "claims = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims",
        "claims = claimed",
    ),
    Defence("test_a_token_that_is_not_for_now_or_not_for_us_is_refused", TOKENS, "self._check_times(known.times)", "pass"),
    Defence(
        "test_a_token_that_was_recognised_falls_with_the_key_that_its_issuer_withdraws",
        TOKENS,
        "or await known.issuer.of(known.key_id) is not known.keys:",
        ":",
    ),
    Defence("test_each_token_opens_what_it_is_for_and_a_forged_one_nothing", TOKENS, "if not servers:", "if False:"),
    Defence(
        "test_from_anybody_else_and_without_a_name_nobody_is_known",
        "broker/identity/proxies.py",
        "or not self.trusts(peer.address)",
        "",
    ),
    Defence(
        "test_an_issuer_names_no_workload_of_another_trust_domain",
        TOKENS,
        'if subject.startswith("spiffe:") and (not named or named != issuer.trust_domain):',
        "if False:",
    ),
    Defence(
        "test_this_machine_needs_no_token_only_where_it_was_opened_and_nothing_stands_between",
        "broker/identity/proxies.py",
        "return peer.direct and ip_address",
        "return ip_address",
    ),
    Defence(
        "test_a_broker_that_others_reach_is_not_opened", "broker/settings.py", "if self.open_loopback and (", "if False and ("
    ),
    Defence(
        "test_a_service_that_calls_for_nobody_only_reads",
        "broker/policy/evaluate.py",
        "return _SERVICE_ALONE if barred(policy, server, tool, caller) else None",
        "return None",
    ),
    Defence(
        "test_nothing_of_the_caller_but_mcp_goes_upstream_and_the_servers_own_headers_do",
        "broker/gateway/heads.py",
        'headers = {"accept": self.accept or "application/json, text/event-stream"}',
        'headers = {"accept": self.accept, "authorization": self.authorization or ""}',
    ),
    Defence(
        "test_one_users_token_is_never_used_for_another",
        "broker/upstream/credentials.py",
        '(caller.principal if caller else "") if _of_user(auth) else None',
        "None",
    ),
    Defence(
        "test_who_calls_without_a_user_has_no_users_access",
        "broker/upstream/credentials.py",
        "or caller is None or not caller.user:",
        "or caller is None:",
    ),
    Defence(
        "test_a_server_that_was_enrolled_refers_to_no_secret",
        "broker/upstream/targets.py",
        "if server.enrolled and (",
        "if False and (",
    ),
    Defence(
        "test_a_name_that_is_bound_to_another_address_later_leads_nowhere",
        "broker/outgoing.py",
        'if self._reach.permits(host, one["host"])]',
        "]",
    ),
    Defence(
        "test_a_name_that_is_bound_to_another_address_later_leads_no_message_there",
        "broker/outgoing.py",
        "if reach.permits(host, str(one[4][0]))]",
        "]",
    ),
    Defence(
        "test_a_server_whose_certificate_does_not_hold_gets_nothing",
        "broker/outgoing.py",
        "    context = ssl.create_default_context()\n",
        "    context = ssl._create_unverified_context()\n",
    ),
    Defence(
        "test_half_an_answer_is_none_and_is_not_asked_for_again",
        "broker/upstream/wire.py",
        "if exc is None and answer.until_closed:",
        "if exc is None:",
    ),
    Defence(
        "test_what_is_not_plainly_http_is_an_answer_in_doubt",
        "broker/upstream/incoming.py",
        'if found.get(b"transfer-encoding", b"chunked").lower() != b"chunked":',
        "if False:",
    ),
    Defence(
        "test_what_nobody_asked_for_is_nobodys_answer",
        "broker/upstream/wire.py",
        "if self._over:\n            raise",
        "if False:\n            raise",
    ),
    Defence(
        "test_no_spelling_of_this_machine_gets_there",
        "broker/outgoing.py",
        "return given_out and ip.is_global and not ip.is_multicast and",
        "return",
    ),
    Defence(
        "test_an_enrolled_server_gets_no_private_address_though_a_listed_one_lies_there",
        "broker/upstream/http.py",
        "self._enrolled = Pool(Reach(always=for_enrolled),",
        'self._enrolled = Pool(Reach(always=("private",)),',
    ),
    Defence(
        "test_another_callers_request_is_no_part_of_a_batch",
        "broker/channels/web/together.py",
        "if proposal(found).caller != caller:",
        "if False:",
    ),
    Defence(
        "test_the_steps_of_a_comparison_are_bounded_however_alike_the_words_are",
        "broker/channels/web/differences.py",
        "if pairs > self._pairs:",
        "if False:",
    ),
    Defence(
        "test_a_page_is_made_of_few_pieces_and_steps_however_many_members_a_call_has",
        "broker/channels/web/arguments.py",
        "return count > COLOURED",
        "return False",
    ),
    Defence(
        "test_keys_that_somebody_on_the_way_could_change_are_not_asked_for",
        "broker/identity/issuers.py",
        "if not confidential(url):",
        "if False:",
    ),
    Defence(
        "test_a_client_with_a_token_for_itself_is_a_service_however_its_issuer_says_so",
        TOKENS,
        '_for_itself(claims, {subject, _named(claims, "sub")}, client)',
        "subject == client",
    ),
)
