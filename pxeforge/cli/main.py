"""`pxeforge`: the command line. Errors are one sentence on stderr; exit 0 done, 1 failed, 2 usage."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import pxeforge
from pxeforge.app.settings import BadSettings, Settings, load_settings
from pxeforge.cli.transport import Api, Login, Refusal, login_of, open_here, open_server


@dataclass(slots=True)
class Session:
    """What the global options chose; the API is opened at the first call."""

    flags: dict[str, Any]
    config: Path | None
    server: str | None
    login: Login | None
    verify: str | bool
    _api: Api | None = None

    def settings(self, **more: Any) -> Settings:
        """Those of this computer, for commands that work on it themselves. Raises Refusal where a server was named."""
        if self.server is not None:
            command = click.get_current_context().command_path.partition(" ")[2]
            raise Refusal(
                f"`pxeforge {command}` works on the computer it runs on: run it on the server's computer, without "
                "--server (or PXEFORGE_SERVER)"
            )
        return load_settings({**self.flags, **more}, config=self.config)

    @property
    def api(self) -> Api:
        if self._api is None:
            if self.server is not None:
                self._api = open_server(self.server, self.login, self.verify)
            else:
                self._api = open_here(self.settings())
        return self._api


class Group(click.Group):
    """Turns what a person can mend into one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from pxeforge.servers.datagram import CannotListen
        from pxeforge.servers.interfaces import NoInterface
        from pxeforge.services.image_store import ImportProblem
        from pxeforge.services.problems import Problem, StoreUnavailable

        try:
            return super().invoke(ctx)
        except PermissionError as problem:
            click.echo(f"pxeforge: no permission for {problem.filename}: run as root, or use --server URL", err=True)
            sys.exit(1)
        except (Refusal, BadSettings, Problem, StoreUnavailable, ImportProblem, CannotListen, NoInterface) as problem:
            click.echo(f"pxeforge: {problem}", err=True)
            sys.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pxeforge.__version__)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file (default /etc/pxeforge/pxeforge.toml)."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where everything is kept (default /var/lib/pxeforge)."
)
@click.option("--database", metavar="URL", help="Where the database is (default: in the data directory).")
@click.option(
    "--server", metavar="URL", envvar="PXEFORGE_SERVER", help="Talk to a server elsewhere, e.g. https://10.0.0.1:8443."
)
@click.option(
    "--user",
    envvar="PXEFORGE_USER",
    help="User for --server (password in PXEFORGE_PASSWORD; without a user: API token in PXEFORGE_TOKEN).",
)
@click.option("--ca", type=click.Path(exists=True), envvar="PXEFORGE_CA", help="Certificate to trust for --server.")
@click.pass_context
def main(
    context: click.Context,
    config: Path | None,
    data_dir: Path | None,
    database: str | None,
    server: str | None,
    user: str | None,
    ca: str | None,
) -> None:
    """From bare racks to a running cloud, beside the DHCP server you already have."""
    import os

    login = login_of(user, os.environ) if server else None
    flags = {key: value for key, value in (("data_dir", data_dir), ("database", database)) if value}
    context.obj = Session(flags=flags, config=config, server=server, login=login, verify=ca or True)


def _attach() -> None:
    """The commands live in their own modules, by what they are about."""
    from pxeforge.cli import (
        accounts,
        blueprints,
        completion,
        database,
        doctor,
        events,
        health,
        host_arming,
        host_csv,
        host_roles,
        host_set,
        hosts,
        identity,
        images,
        inventory,
        lab,
        lint,
        mirror,
        power,
        profiles,
        render,
        rules,
        runs,
        secrets,
        serve,
        status,
        suggestions,
        webhooks,
    )

    of_hosts = (host_set, host_arming, host_roles)
    catalogue = (images, mirror, profiles, hosts, *of_hosts, power, identity, rules, render, host_csv, lint, inventory)
    engine = (runs, blueprints, secrets, status)
    for module in (serve, doctor, health, *catalogue, *engine, events, accounts, webhooks, database, completion, lab):
        for command in module.COMMANDS:
            main.add_command(command)
    suggestions.suggest_in(main)


_attach()
