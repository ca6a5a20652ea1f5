"""One page in one state, and how a browser gets there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.channels.web.conftest import ANN


@dataclass(frozen=True)
class Scene:
    """Who looks (nobody: an empty name), where, what they press and type first, and a form that they sent."""

    path: str
    person: str = ANN
    press: tuple[str, ...] = ()
    form: dict[str, str] = field(default_factory=dict)
    shows: str = ""


async def visit(page: Any, scene: Scene) -> None:
    """Go to a scene in a signed-in tab, and wait until it is there."""
    await page.goto(scene.path if not scene.form else "/account")
    if scene.form:
        async with page.expect_navigation():
            await page.evaluate(SENT, [scene.path, scene.form])
    for text in scene.press:
        await page.get_by_text(text, exact=True).filter(visible=True).first.click()
    if scene.shows:
        await page.get_by_text(scene.shows).filter(visible=True).first.wait_for()


# Sends a form as a page would, with the session's own token.
SENT = """([action, fields]) => {
  const form = document.createElement("form");
  const csrf = document.querySelector("input[name=csrf]").value;
  for (const [name, value] of Object.entries({csrf, ...fields})) {
    const input = document.createElement("textarea");
    input.name = name;
    input.value = value;
    form.append(input);
  }
  form.method = "post";
  form.action = action;
  document.body.append(form);
  form.submit();
}"""
