"""The page in a real browser: clicks and keys, no error told, nothing asked of any other host."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from agentserve.dashboard.recorded import app
from agentserve.gateway.tenants.keys import Role, changing
from tests.dashboard.browser import WAIT, opened
from tests.gateway.world import CHAT, World, chat, eventually, serve, world

pytestmark = pytest.mark.browser
expect.set_options(timeout=WAIT)

NAMED = {"x-agentserve-program": "run/7", "x-agentserve-workflow": "swe"}


async def live(page: Page) -> None:
    await expect(page.locator("#status")).to_have_text("live")


def rows(page: Page) -> Locator:
    """The programs in sight."""
    return page.locator("#timeline").get_by_role("option")


async def post(w: World, program: str = "run/7") -> str:
    answer = await w.client.post(CHAT, json=chat(), headers={**NAMED, "x-agentserve-program": program})
    return answer.headers["x-agentserve-call"]


async def test_an_idle_gateway_says_that_nobody_is_there() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        await expect(page.locator(".empty")).to_contain_text("No program is here now")
        await expect(page.locator("#engines")).to_contain_text("free 8.2k of 8.2k")
        await expect(page.locator("#policy")).to_contain_text("least_loaded")


async def test_a_program_appears_and_a_click_shows_its_calls_and_their_story(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with world(event_log=str(log)) as w, opened(w.url) as page:
        await live(page)
        call = await post(w)
        await page.locator("#timeline").get_by_role("option", name="run/7, gap").click()
        details = page.get_by_role("complementary")
        await expect(details).to_contain_text("Program run/7")
        await expect(details).to_contain_text("it did not have to wait")
        await eventually(lambda: call in log.read_text(), "the log's next group")
        await details.get_by_role("button", name="Story of call 1").click()
        await expect(details).to_contain_text("goes to a after 0.000 s in line")
        await details.get_by_role("button", name="Close").click()
        await expect(details).to_be_hidden()


async def test_an_engine_shows_what_holds_its_memory() -> None:
    async with world(policy="agentserve") as w, opened(w.url) as page:
        await live(page)
        await post(w)
        await page.locator("#engines button").click()
        details = page.get_by_role("complementary")
        await expect(details).to_contain_text("Engine a")
        await expect(details).to_contain_text("8,192 tokens")


async def test_what_clients_name_is_never_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    async with world() as w, opened(w.url) as page:
        await live(page)
        await post(w, evil)
        await page.locator("#timeline").get_by_role("option", name=evil).click()
        await expect(page.locator("#details-title")).to_have_text(f"Program {evil}")
        assert await page.locator("img").count() == 0


async def test_programs_are_searched_and_chosen_by_state() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        for name in ("alpha", "beta"):
            await post(w, name)
        await expect(rows(page)).to_have_count(2)
        await page.keyboard.press("/")
        await page.keyboard.type("alp")
        await expect(rows(page)).to_have_count(1)
        await page.locator("#state").select_option("queued")
        await expect(page.locator(".empty")).to_have_text("No program is like that now.")


async def test_the_keyboard_reaches_everything_and_every_element_has_a_name_and_shows_its_focus() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        await post(w)
        await expect(rows(page)).to_have_count(1)
        await page.locator("#play").click()
        expected = await page.evaluate(
            """() => [...document.querySelectorAll("a, button, input, select, [tabindex='0']")]
                .filter((each) => each.checkVisibility() && !each.disabled).map((each) => each.id || each.textContent)"""
        )
        await page.evaluate("document.activeElement.blur()")
        reached = set()
        for _ in range(2 * len(expected)):
            await page.keyboard.press("Tab")
            name, label, outline = await page.evaluate(
                """() => { const each = document.activeElement; return each === document.body ? ["body", "body", "page"] : [each.id || each.textContent,
                    each.computedName ?? (each.labels?.[0]?.textContent || each.ariaLabel || each.textContent
                        || document.getElementById(each.getAttribute("aria-labelledby"))?.textContent),
                    getComputedStyle(each).outlineStyle]; }"""
            )
            reached.add(name)
            assert label, f"{name!r} has no name"
            assert outline != "none", f"{name!r} does not show its focus"
        assert set(expected) <= reached


async def test_a_program_is_opened_and_closed_by_keys_alone() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        await post(w, "first")
        await post(w, "second")
        await expect(rows(page)).to_have_count(2)
        await page.locator("#timeline").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        await expect(page.locator("#timeline").get_by_role("option", selected=True)).to_have_count(1)
        await page.keyboard.press("Enter")
        await expect(page.locator("#details-title")).to_have_text("Program second")
        await expect(page.locator("#details-title")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.locator("#details")).to_be_hidden()
        await expect(page.locator("#timeline")).to_be_focused()


async def test_time_can_be_stopped_and_let_go_on() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        await page.get_by_role("button", name="Stop").click()
        stopped = await page.locator("#clock").text_content()
        await post(w)
        await expect(page.locator("#clock")).not_to_have_text(stopped or "")
        assert await rows(page).count() == 0, "what came later is not shown"
        await page.get_by_role("button", name="Now").click()
        await expect(rows(page)).to_have_count(1)


async def test_a_feed_that_breaks_is_told_and_found_again() -> None:
    async with world() as w, opened(w.url) as page:
        await live(page)
        await post(w)
        await expect(rows(page)).to_have_count(1)
        w.app.drain.begun = True
        await expect(page.locator("#status")).to_contain_text("trying again")
        w.app.drain.begun = False
        await live(page)
        await expect(rows(page)).to_have_count(1)


async def test_a_gateway_with_keys_asks_for_one(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with changing(file) as ring:
        admin = ring.create("ops", 0.0, role=Role.ADMIN).text
    async with world(keys=str(file)) as w, opened(w.url, allowed=("401",)) as page:
        await page.get_by_label("admin key").fill("wrong")
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("#door-problem")).to_contain_text("not valid")
        await page.get_by_label("admin key").fill(admin)
        await page.get_by_role("button", name="Open").click()
        await live(page)


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
async def test_light_and_dark_follow_the_system_and_the_switch(scheme: str, other: str) -> None:
    grounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}
    async with world() as w, opened(w.url, scheme) as page:
        await live(page)
        await expect(page.locator("body")).to_have_css("background-color", grounds[scheme])
        await page.get_by_label("Theme").select_option(other)
        await expect(page.locator("body")).to_have_css("background-color", grounds[other])
        await page.reload()
        await expect(page.locator("body")).to_have_css("background-color", grounds[other])


async def test_a_recorded_log_is_shown_with_a_slider_through_its_time(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with world(event_log=str(log)) as w:
        await post(w)
    with log.open() as lines:
        recorded = app(log, lines)
    async with serve(recorded) as url, opened(url) as page:
        await expect(page.locator("#status")).to_have_text("a recording")
        await page.locator("#timeline").get_by_role("option", name="run/7, gap").click()
        await expect(page.locator("#details")).to_contain_text("it did not have to wait")
        await page.keyboard.press("Escape")
        await page.locator("#time").focus()
        await page.keyboard.press("Home")
        await expect(page.locator("#tiles")).to_contain_text("0 run")
        await expect(page.locator("#tiles b").first).to_have_text("0")
        await page.keyboard.press("End")
        await expect(page.locator("#tiles b").first).to_have_text("1")
