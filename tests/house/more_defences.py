"""The second part of `defences.py`: towards servers and people, and where there is too much of something."""

from __future__ import annotations

from tests.house.defences import REQUESTS, Defence

MORE = (
    Defence(
        "test_a_receipt_is_good_for_one_call",
        "broker/guarded.py",
        "if not await memory.first(receipt.jti, datetime.fromtimestamp(receipt.exp + 60, UTC)):",
        "if False:",
    ),
    Defence(
        "test_only_whom_the_brokers_word_puts_into_the_group_gets_in",
        "broker/authorized.py",
        "return lambda caller: not set(groups).isdisjoint(caller.groups)",
        "return lambda caller: True",
    ),
    Defence(
        "test_through_the_broker_the_same_people_get_in_and_a_receipt_is_still_needed",
        "broker/within.py",
        "await check(kwargs[_CONTEXT] if takes else kwargs.pop(_CONTEXT), tool.__name__)",
        "kwargs[_CONTEXT] if takes else kwargs.pop(_CONTEXT)",
    ),
    Defence(
        "test_forged_aged_and_malformed_heads_are_refused",
        "broker/channels/slack/signature.py",
        "return hmac.compare_digest(signed(secret, timestamp, body), signature)",
        "return True",
    ),
    Defence(
        "test_a_replay_is_refused_and_kept_once",
        "broker/channels/slack/http.py",
        "if told is not None and not await self._arrivals.put(encode(told), mark):",
        "if told is not None and not await self._arrivals.put(encode(told), mark) and False:",
    ),
    Defence(
        "test_guests_bots_strangers_and_other_teams_are_refused",
        "broker/channels/slack/identities.py",
        'if account.get("is_restricted") or account.get("is_ultra_restricted"):',
        "if False:",
    ),
    Defence(
        "test_nothing_hostile_is_ever_parsed",
        "broker/channels/slack/blocks.py",
        'element: Block = {"type": "text", "text": visible(content) or " "}',
        'element: Block = {"type": "mrkdwn", "text": content or " "}',
    ),
    Defence(
        "test_the_card_stays_within_slacks_limits_and_parses_nothing",
        "broker/channels/slack/blocks.py",
        'return {"type": "plain_text", "text": seen(text, limit) or " ", "emoji": False}',
        'return {"type": "plain_text", "text": text, "emoji": False}',
    ),
    Defence(
        "test_the_unseen_is_marked_and_counted_in_names_too",
        "broker/domain/text.py",
        "return char not in keep and (",
        "return False and (",
    ),
    Defence(
        "test_what_does_not_fit_whole_can_not_be_approved",
        "broker/channels/slack/card.py",
        "return here and shown.whole and fits(request.call, shown)",
        "return here",
    ),
    Defence(
        "test_a_button_of_an_older_revision_is_refused_once_more_is_asked",
        "broker/channels/slack/card.py",
        "shown.written, asks, request.policy, said]",
        "shown.written, said]",
    ),
    Defence("test_a_form_for_other_arguments_is_not_counted", REQUESTS, "if review.digest != self.digest:", "if False:"),
    Defence(
        "test_an_assertion_for_a_rejection_does_not_approve",
        "broker/identity/passkeys.py",
        'for name in ("request", "digest", "verdict")}}',
        'for name in ("request", "digest")}}',
    ),
    Defence(
        "test_an_assertion_for_another_request_does_not_approve",
        "broker/identity/passkeys.py",
        'for name in ("request", "digest", "verdict")}}',
        'for name in ("verdict",)}}',
    ),
    Defence(
        "test_signing_in_again_ends_the_session_that_came_along", "broker/identity/sessions.py", "await self.end(instead)", "pass"
    ),
    Defence(
        "test_a_link_signs_in_once_though_it_was_looked_at_before",
        "broker/identity/people.py",
        "await self._credentials.take(Kind.LINK, self._hash(secret))",
        "await self._credentials.get(Kind.LINK, self._hash(secret))",
    ),
    Defence(
        "test_redaction_comes_before_the_card",
        "broker/domain/redaction.py",
        'instead = f"[redacted {kind}{self._fingerprint(original)}]"',
        "instead = original",
    ),
    Defence(
        "test_no_secret_comes_out_anywhere",
        "broker/domain/redaction.py",
        "why = tuple(Reason(reason.rule, cover.scrubbed(reason.text), reason.where) for reason in reasons)",
        "why = tuple(reasons)",
    ),
    Defence(
        "test_what_looks_like_a_secret_is_covered_and_must_be_uncovered_before_approving",
        "broker/domain/shapes.py",
        "def _merged(found: Iterable[Span]) -> tuple[Span, ...]:",
        "def _merged(found: Iterable[Span]) -> tuple[Span, ...]:\n    found = ()",
    ),
    Defence(
        "test_private_addresses_are_refused",
        "broker/registry/enrolling.py",
        'if why := await objection(remote["url"], self._resolve, self.house.fit):',
        "if why := '':",
    ),
    Defence(
        "test_what_is_not_taken",
        "broker/registry/server_json.py",
        "if isinstance(value, str) and _REFERENCE.match(value):",
        "if False:",
    ),
    Defence(
        "test_while_the_store_cannot_be_read_no_enrolled_server_gets_a_call",
        "broker/registry/roster.py",
        "if self._looked is None or now - self._looked >= self._fresh:",
        "if False:",
    ),
    Defence(
        "test_moves_that_are_refused",
        "broker/domain/enrolment.py",
        'if by.person in (self.proposal.by, proposed.by if proposed else ""):',
        "if False:",
    ),
    Defence(
        "test_without_a_credential_nothing_but_discovery_gets_in",
        "broker/gateway/doorway.py",
        "or visit.message.method not in _DISCOVERY:",
        "or False:",
    ),
    Defence(
        "test_a_call_to_an_unregistered_server_is_refused_runs_nothing_and_is_written_down",
        "broker/gateway/doorway.py",
        "await self.strayed(name, caller, error.message)",
        "pass",
    ),
    Defence(
        "test_open_streams_end_when_their_credential_does",
        "broker/gateway/lasting.py",
        "visit.exchange.end_early()",
        "pass",
    ),
    Defence(
        "test_a_server_for_some_groups_is_closed_to_others_at_every_request_and_nothing_reaches_it",
        "broker/gateway/doorway.py",
        "if why := self._barred(server, caller):",
        "if why := '':",
    ),
    Defence(
        "test_arguments_and_answers_lie_encrypted_in_the_store", "broker/store/cipher.py", "if not self._writing:", "if True:"
    ),
    Defence("test_no_value_forges_a_field_of_cef", "broker/audit/export.py", '.replace("=", "\\\\=")', ""),
    Defence(
        "test_every_event_is_one_line", "broker/audit/export.py", 'return re.sub(r"[^A-Za-z0-9_.]", "_", name)', "return name"
    ),
    Defence(
        "test_split_refunds_through_two_brokers_pass_up_to_the_limit_and_no_further",
        "broker/approvals/tally.py",
        "return await self._counters.reserve(self._call_id, self._uses)",
        "return dict.fromkeys(await self._counters.reserve(self._call_id, self._uses), 0.0)",
    ),
    Defence(
        "test_a_jwt_svid_without_an_issuer_is_known_by_its_trust_domain_and_bundle",
        "broker/identity/spiffe.py",
        ' and key.get("use") != "x509-svid"]\n'
        '    return {"keys": [key | {"use": "sig"} if key.get("use") == "jwt-svid" else key for key in keys]}',
        ']\n    return {"keys": [key | {"use": "sig"} for key in keys]}',
    ),
    Defence(
        "test_an_agent_that_has_left_too_much_with_people_waits",
        "broker/approvals/limits.py",
        "if self._pending and waiting + max(let - before, 0) >= self._pending:",
        "if False:",
    ),
    Defence(
        "test_calls_that_come_at_once_leave_no_more_with_people_than_those_that_come_one_by_one",
        "broker/approvals/limits.py",
        "waiting + max(let - before, 0)",
        "waiting",
    ),
    Defence(
        "test_the_same_call_after_a_rejection_is_refused_without_asking",
        "broker/approvals/desk.py",
        "if self._memory is not None and after.state is RequestState.REJECTED:",
        "if False:",
    ),
    Defence(
        "test_another_idempotency_key_does_not_make_a_rejected_call_another",
        "broker/domain/calls.py",
        'msgspec.structs.replace(call, idempotency_key="")',
        "call",
    ),
    Defence(
        "test_a_stop_set_at_one_broker_holds_at_the_other_within_a_second",
        "broker/approvals/stops.py",
        "if not self._known:",
        "if True:",
    ),
    Defence("test_a_stop_also_ends_what_was_approved", "broker/approvals/fitness.py", "if stop is not None:", "if False:"),
    Defence(
        "test_where_the_operator_lets_allowed_calls_pass_their_events_arrive_when_the_store_is_back",
        "broker/approvals/writing.py",
        "self._spooling = asyncio.ensure_future(self._audit.spool(self._event))",
        "self._spooling = asyncio.ensure_future(asyncio.sleep(0))",
    ),
    Defence(
        "test_no_address_but_a_known_push_service_is_kept",
        "broker/channels/push/devices.py",
        "if not any(_within(made.endpoint, service) for service in self._services):",
        "if False:",
    ),
    Defence(
        "test_silence_is_never_consent",
        REQUESTS,
        "return self._end(RequestState.EXPIRED, now, why=late)",
        "return Change(self._next(state=RequestState.APPROVED, release_by=now + timedelta(minutes=1)), None)",
    ),
    Defence(
        "test_what_never_ends_is_cut_off_long_before_it_hurts",
        "broker/gateway/listener.py",
        "if self._fruitless >= self.head_limit:",
        "if False:",
    ),
    Defence(
        "test_a_call_that_brings_a_million_values_beside_its_arguments_is_denied_whatever_allows",
        "broker/policy/arguments.py",
        "if count > MOST_BESIDE:",
        "if False:",
    ),
    Defence(
        "test_a_body_of_more_than_a_megabyte_is_refused_and_people_are_shown_nothing",
        "broker/gateway/exchange.py",
        "if len(body) > limit:",
        "if False:",
    ),
    Defence(
        "test_reviews_of_what_has_changed_since_do_not_count",
        "broker/domain/enrolment.py",
        "one if one.shown == shown else SlotReview(ticket=one.ticket)",
        "one",
    ),
    Defence(
        "test_a_review_of_what_has_changed_since_is_refused",
        "broker/registry/reviewing.py",
        "if proposal_digest(before, digests) != shown:",
        "if False:",
    ),
    Defence(
        "test_a_message_that_comes_again_is_refused",
        "broker/channels/web/hooks_api.py",
        'if registry.once is None or not await registry.once.first(f"review:{message}", REMEMBERED):',
        "if False:",
    ),
    Defence(
        "test_every_list_fits_the_openapi_text_and_tells_no_upstream_address",
        "broker/registry/official.py",
        """"remotes": [{"type": "streamable-http", "url": f"{base.rstrip('/')}/mcp/{local}"}]""",
        '"remotes": document.get("remotes", [])',
    ),
    Defence(
        "test_a_form_that_was_overtaken_answers_item_by_item",
        "broker/approvals/desk.py",
        "if version and version != request.version:",
        "if False:",
    ),
)
