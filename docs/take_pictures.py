"""Take the pictures of README and tour from a running app that has been through the loop.

usage: python docs/take_pictures.py URL ADMIN_EMAIL LABELER_EMAIL < PASSWORDS

Two lines on standard input: the admin's password and the labeler's. The app is best filled by
`podium demo --simulate-labelers`, then one reward-model and one PPO job.
"""

import shutil
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).resolve().parent / "img"
VIEWPORT = {"width": 1280, "height": 860}


def signed_in(browser: Browser, url: str, email: str, password: str) -> Page:
    """A page of this person."""
    page = browser.new_context(viewport=VIEWPORT, color_scheme="light").new_page()
    page.goto(f"{url}/sign-in")
    page.fill("[name=email]", email)
    page.fill("[name=password]", password)
    page.press("[name=password]", "Enter")
    page.wait_for_load_state("networkidle")
    return page


def take(page: Page, address: str, name: str) -> None:
    """One picture of the first screenful."""
    page.goto(address)
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"{name}.png")


def main(url: str, admin_email: str, labeler_email: str) -> None:
    """Take them all."""
    passwords = [sys.stdin.readline().strip() for _ in range(2)]
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        admin = signed_in(browser, url, admin_email, passwords[0])
        cookies = {cookie["name"]: cookie["value"] for cookie in admin.context.cookies()}
        with httpx.Client(base_url=f"{url}/api/v1", cookies=cookies) as rest:
            project = rest.get("/projects").raise_for_status().json()["items"][0]["id"]
            jobs = rest.get("/jobs").raise_for_status().json()["items"]
        newest = {job["kind"]: job for job in reversed(jobs) if job["state"] == "succeeded"}
        take(admin, f"{url}/projects/{project}", "loop")
        take(admin, f"{url}/projects/{project}/pairs", "pairs")
        take(admin, f"{url}/projects/{project}/agreement", "agreement")
        take(admin, f"{url}/projects/{project}/people", "people")
        take(admin, f"{url}/rounds/{newest['generation']['config']['round_id']}", "round")
        take(admin, f"{url}/jobs/{newest['reward_model']['id']}", "reward-model-job")
        take(admin, f"{url}/jobs/{newest['ppo']['id']}", "ppo-job")
        take(admin, f"{url}/models/{newest['ppo']['outputs']['model_id']}", "model")
        labeler = signed_in(browser, url, labeler_email, passwords[1])
        labeler.goto(f"{url}/queue")
        labeler.locator(f"form[action$='/projects/{project}/rank'] button").first.click()
        labeler.wait_for_timeout(1500)
        labeler.keyboard.press("b")
        labeler.keyboard.press("a")
        labeler.wait_for_timeout(800)
        labeler.screenshot(path=IMAGES / "rank.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
