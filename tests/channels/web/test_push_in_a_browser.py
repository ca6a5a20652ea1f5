"""Notifications in a real Chromium, under the strict policy of the pages. Its push service is out of reach: a loopback one
stands in for it, and the browser's own tools hand over what that one was sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
from playwright.async_api import expect

from broker.store.open import Store
from tests.channels.push.conftest import Phone, pushed
from tests.channels.web.conftest import ANN
from tests.channels.web.test_in_a_browser import tab_of, violations

# What Chromium would get from its own service.
SUBSCRIBED = "PushManager.prototype.subscribe = async () => ({ toJSON: () => (%s) });"


async def displays(devtools: Any) -> asyncio.Event:
    """Return what is set once a notification is displayed. A page that asks for its notifications while one is on the way to the
    screen makes Chromium forget that one, so nobody may ask before."""
    displayed = asyncio.Event()
    devtools.on(
        "BackgroundService.backgroundServiceEventReceived",
        lambda told: displayed.set() if told["backgroundServiceEvent"]["eventName"] == "Notification displayed" else None,
    )
    await devtools.send("BackgroundService.setRecording", {"shouldRecord": True, "service": "notifications"})
    await devtools.send("BackgroundService.startObserving", {"service": "notifications"})
    return displayed


async def test_a_subscribed_browser_shows_what_waits_and_is_removed_again(store: Store, browser: Any) -> None:
    async with pushed(store) as pushing:
        phone = Phone(pushing.service.url)
        page, wrong = await tab_of(pushing.site, browser, permissions=["notifications"])
        await page.add_init_script(SUBSCRIBED % json.dumps(phone.subscription))
        devtools = await page.context.new_cdp_session(page)
        workers: list[Any] = []
        devtools.on("ServiceWorker.workerRegistrationUpdated", lambda told: workers.extend(told["registrations"]))
        await devtools.send("ServiceWorker.enable")
        displayed = await displays(devtools)
        await page.goto("/account")
        await page.get_by_role("button", name="Notify this device").click()
        await expect(page.get_by_text("Chrome on Linux").nth(1)).to_be_visible()
        request = await pushing.site.park(severity="critical")
        await pushing.service.arrived(1)
        told = phone.opened(pushing.service.messages[0][2]).decode()
        await devtools.send("ServiceWorker.deliverPushMessage", {
            "origin": pushing.site.url, "registrationId": workers[0]["registrationId"], "data": told,
        })  # fmt: skip
        with anyio.fail_after(10):
            await displayed.wait()
        shown = "navigator.serviceWorker.ready.then((one) => one.getNotifications())"
        look = shown + ".then((all) => all.map((one) => [one.title, one.body, one.tag, one.data.path]))"
        assert await page.evaluate(look) == [["Approval needed", "Severity: Critical", request.id, f"/r/{request.id}"]]
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_text("None yet.").nth(1)).to_be_visible()
        assert await pushing.devices.of(ANN) == []
        assert (wrong, await violations(page)) == ([], [])
