"""The manifest of the Slack app: what an operator pastes at api.slack.com/apps. Least scopes; no history is ever read."""

from __future__ import annotations

from typing import Any

from broker.channels.slack.arrivals import CARD_EVENT

# What each scope is for. Nothing else is asked.
SCOPES = {
    "chat:write": "post, update and delete the app's own cards",
    "commands": "the /approvals command",
    "im:write": "direct messages to approvers and requesters",
    "users:read": "is it a member, a guest, a bot?",
    "users:read.email": "the name that is shown when an account is connected; addresses, where they are switched on",
    "usergroups:read": "members of the user groups that people.yaml names",
    "metadata.message:read": "hear of a card whose posting got no answer, so that there is no second one",
}
APP_SCOPE = "connections:write"


def manifest(public_url: str = "", *, name: str = "Approvals") -> dict[str, Any]:
    """Return the manifest: for HTTP where there is a public address, else for Socket Mode.

    It subscribes to metadata of any app (`*`), since the app's own id is not known before its creation; others' cards are
    told apart by who posted them. That is how a card is found again whose posting got no answer.
    """
    base = public_url.rstrip("/")
    command = {
        "command": "/approvals",
        "description": "What waits for you",
        "usage_hint": "[list | show ID | link]",
        "should_escape": True,
    }
    events: dict[str, Any] = {
        "bot_events": ["app_home_opened", "message_metadata_posted"],
        "metadata_subscriptions": [{"app_id": "*", "event_type": CARD_EVENT}],
    }
    interactivity: dict[str, Any] = {"is_enabled": True}
    if base:
        command["url"] = f"{base}/slack/commands"
        events["request_url"] = f"{base}/slack/events"
        interactivity["request_url"] = f"{base}/slack/interactions"
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": name,
            "description": "Approve or reject what agents want to do",
            "background_color": "#1f2937",
        },
        "features": {
            "app_home": {"home_tab_enabled": True, "messages_tab_enabled": True, "messages_tab_read_only_enabled": True},
            "bot_user": {"display_name": name, "always_online": True},
            "slash_commands": [command],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not base,
            "token_rotation_enabled": False,
        },
    }
