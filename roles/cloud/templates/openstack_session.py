"""A session with an OpenStack cloud for checks: Identity v3 by urllib, deadlines on every request, no packages."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request


class Refused(Exception):
    """A service answered with an error, or not at all; `status` is 0 without an answer."""

    def __init__(self, sentence, status=0):
        super().__init__(sentence)
        self.status = status


def request(method, url, body=None, headers=None, timeout_s=20.0):
    """Status, headers and bytes of the answer; raises Refused for errors of HTTP and of the network."""
    sent = dict(headers or {})
    data = body
    if body is not None and not isinstance(body, bytes):
        data = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    asked = urllib.request.Request(url, data=data, headers=sent, method=method)
    # An API on the boot network is reached directly, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=timeout_s) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        said = ""
        # A server that has not read our body may hang up after its answer.
        with error, contextlib.suppress(OSError, http.client.HTTPException):
            said = error.read(2000).decode("utf-8", "replace").strip()
        raise Refused(f"{method} {url}: {error.code} {said[:300]}", error.code) from None
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{method} {url}: {error}") from None


class Session:
    """A token of one user in one project, and the catalog that came with it."""

    def __init__(self, auth, region=None, interface="internal", timeout_s=20.0):
        """`auth`: url (with /v3), user, password, project and optionally domain; raises Refused."""
        self.region, self.interface, self.timeout_s = region, interface, timeout_s
        self.auth_url = auth["url"].rstrip("/")
        domain = {"id": auth["domain"]} if "domain" in auth else {"id": "default"}
        user = {"name": auth["user"], "domain": domain, "password": auth["password"]}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": auth["project"], "domain": domain}},
            }
        }
        _, headers, answer = request("POST", f"{self.auth_url}/auth/tokens", body, timeout_s=timeout_s)
        told = json.loads(answer)["token"]
        self.token = headers["X-Subject-Token"]
        self.project_id, self.user_id = told["project"]["id"], told["user"]["id"]
        self.roles = sorted(role["name"] for role in told["roles"])
        self.catalog = told.get("catalog", [])

    def endpoint(self, service, interface=None):
        """The address of a service by type (`image`), without a slash at its end; raises Refused."""
        for entry in self.catalog:
            for endpoint in entry["endpoints"] if entry["type"] == service else ():
                if endpoint["interface"] == (interface or self.interface) and self.region in (None, endpoint["region"]):
                    return endpoint["url"].rstrip("/")
        raise Refused(f"the catalog has no {interface or self.interface} endpoint of {service}")

    def call(self, method, url, body=None, headers=None):
        """Like request, with our token."""
        return request(method, url, body, {"X-Auth-Token": self.token, **(headers or {})}, self.timeout_s)

    def get(self, service, path, headers=None):
        """The JSON that a service answers."""
        return self.sent("GET", service, path, headers=headers)

    def sent(self, method, service, path, body=None, headers=None):
        """The JSON of the answer to any method, None without a body."""
        _, _, answer = self.call(
            method, self.endpoint(service) + path, body, {"Accept": "application/json", **(headers or {})}
        )
        return json.loads(answer) if answer.strip() else None
