"""Receipts on request, of a whole broker: for whoever may see the request, by its key."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import httpx2
import pytest

from broker.approvals.ports import Query
from broker.audit.keys import PublicKeys
from broker.audit.receipts import read
from broker.cli.main import main
from tests.conftest import empty
from tests.fakes.wired import wired


async def test_what_was_released_has_a_receipt_for_the_files_and_nothing_else_has(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await empty(store_url)
    async with wired(store_url, tmp_path, receipts_name_people=True) as here:

        async def asked(request_id: str, token: str) -> httpx2.Response:
            headers = {"authorization": f"Bearer {token}"}
            return await here.http.get(f"{here.run.url}/api/v1/requests/{request_id}/receipt", headers=headers)

        await here.parked({"what": "this"})
        (ran,) = (await here.run.broker.store.requests.find(Query())).requests
        jwks = (await here.http.get(f"{here.run.url}/.well-known/jwks.json")).json()
        answer = await asked(ran.id, here.dana)
        receipt = read(answer.text, PublicKeys(jwks))
        assert (answer.status_code, receipt.call, receipt.approvers) == (200, ran.digest, ("dana@example.com",))
        assert receipt.exp == receipt.iat
        assert (await asked(ran.id, here.agent)).status_code == 401

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "park_me", {"what": "that"})
            (waits,) = await here.asked()
            refused = await asked(waits.id, here.dana)
            assert (refused.status_code, refused.json()["code"]) == (409, "wrong_move")
            tasks.cancel_scope.cancel()

        monkeypatch.setenv("BROKER_URL", here.run.url)
        monkeypatch.setenv("BROKER_TOKEN", here.dana)
        assert await anyio.to_thread.run_sync(main, ["receipts", "get", ran.id]) == 0
    file, keys = tmp_path / "receipt.jwt", tmp_path / "jwks.json"
    file.write_text(capsys.readouterr().out.splitlines()[-1])
    keys.write_text(json.dumps(jwks))
    assert main(["receipts", "verify", str(file), "--keys", str(keys)]) == 0
    assert ran.digest in capsys.readouterr().out
