"""horizon: the login page comes, its form is sent with its token, the user's page follows. JSON on standard input."""

import http.client
import http.cookiejar
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

TOKEN = re.compile(r"""name=["']csrfmiddlewaretoken["'] value=["']([^"']+)""")
REGION = re.compile(r"""name=["']region["'][^>]*value=["']([^"']+)""")
USERS = "identity/users/"  # a page that asks keystone alone
TIMEOUT_S = 60  # the first page of a fresh process compiles templates


class Wrong(Exception):
    """The dashboard does not let in who may come in, or lets in who may not."""


class Browser:
    """Cookies and redirects as a browser has them."""

    def __init__(self):
        kept = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), kept)

    def open(self, url, form=None):
        """The address where it ended and the page."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            with self._opener.open(urllib.request.Request(url, data, {"Referer": url}), timeout=TIMEOUT_S) as answer:
                return answer.geturl(), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                raise Wrong(f"{url} answers {error.code}") from None


def log_in(url, user, password):
    """The browser, the address where it is after the login, and that page."""
    browser = Browser()
    login_url, page = browser.open(f"{url}auth/login/")
    token = TOKEN.search(page)
    if token is None:
        raise Wrong("the login page has no form")
    form = {"csrfmiddlewaretoken": token[1], "username": user, "password": password, "domain": "Default"}
    form["next"] = urllib.parse.urlsplit(f"{url}{USERS}").path
    region = REGION.search(page)
    if region:
        form["region"] = region[1]
    return browser, *browser.open(login_url, form)


def check(url, user, password):
    _, where, _ = log_in(url, user, f"{password}-not")
    if "/auth/login" not in where:
        raise Wrong("the dashboard lets in with a wrong password")
    browser, where, page = log_in(url, user, password)
    if "/auth/login" in where or user not in page:
        raise Wrong(f"the login as {user} leads back to the login page")
    if USERS not in where or "demo" not in page:
        raise Wrong("the page of users does not show them")
    browser.open(f"{url}auth/logout/")


def main():
    wanted = json.load(sys.stdin)
    try:
        check(wanted["url"], wanted["user"], wanted["password"])
    except (Wrong, OSError, http.client.HTTPException) as problem:
        print(f"horizon: {problem}")
        return 1
    print("a login works, and shows the users")
    return 0


if __name__ == "__main__":
    sys.exit(main())
