"""The third part of `defences.py`: the store and the record, against somebody who can write to them."""

from __future__ import annotations

from tests.house.defences import Defence

KEPT = (
    Defence(
        "test_a_direct_call_an_old_receipt_and_one_for_other_arguments_are_refused",
        "broker/audit/receipts.py",
        "if receipt.arguments != digest_of(dict(arguments)):",
        "if False:",
    ),
    Defence(
        "test_a_value_opens_only_where_it_was_put",
        "broker/store/cipher.py",
        'raise RecordUnreadable("a record does not open with its key: it was changed, or moved") from None',
        'return b""',
    ),
    Defence(
        "test_a_changed_value_does_not_open",
        "broker/store/cipher.py",
        "return key.decrypt(value[1 + _NAME : _HEAD], value[_HEAD:], place.encode())",
        "return value[_HEAD:]",
    ),
    Defence(
        "test_an_attack_on_the_store_is_found_at_its_first_event",
        "broker/audit/verify.py",
        "if sealed.entry(number) not in (entry, None):",
        "if False:",
    ),
    Defence(
        "test_an_attack_on_the_files_is_found_at_its_first_event",
        "broker/audit/verify.py",
        "if links[-1].hex() != batch.seal.head:",
        "if False:",
    ),
    Defence(
        "test_who_keeps_the_brokers_from_sealing_is_found",
        "broker/audit/verify.py",
        "while (sealed := _sealed_to(await seals.head(), keys)) < written:",
        "while False:",
    ),
    Defence(
        "test_an_older_dump_of_the_store_is_found",
        "broker/audit/verify.py",
        "seal = seal_of(head)",
        "return None",
    ),
    Defence(
        "test_a_store_that_was_put_back_is_found_also_after_it_went_on",
        "broker/audit/verify.py",
        "if self.link(number) != link:",
        "if False:",
    ),
    Defence(
        "test_a_store_that_goes_back_to_before_the_claim_runs_nothing_twice",
        "broker/approvals/releaser.py",
        "if request_id in self._claimed:",
        "if False:",
    ),
    Defence(
        "test_a_key_that_somebody_wrote_into_the_store_seals_nothing",
        "broker/store/sealing.py",
        "if not self._cipher.on:",
        "if True:",
    ),
    Defence(
        "test_a_credential_that_somebody_wrote_into_the_store_opens_nothing",
        "broker/store/credentials.py",
        "if sealed is None or not self._cipher.on:",
        "if True:",
    ),
)
