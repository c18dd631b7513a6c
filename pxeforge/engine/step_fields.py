"""What parameters of steps are made of: the kinds of values, and the model that all of them are."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


def _number_as_text(value: object) -> object:
    """YAML reads `4` as a number where a configuration file wants text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address, like 192.0.2.5") from None


def _interface_address(text: str) -> str:
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address with its prefix length, like 192.0.2.5/24") from None
    if "/" not in text:
        raise ValueError(f"{text} lacks its prefix length: write it like 192.0.2.5/24")
    return str(address)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no network, like 198.51.100.0/24 ({error})") from None


Text = Annotated[str, BeforeValidator(_number_as_text)]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]*$")]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.\-]+(:[a-z0-9]+)?$")]
Mode = Annotated[str, BeforeValidator(_number_as_text), StringConstraints(pattern=r"^0?[0-7]{3,4}$")]
Account = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]{0,31}$")]
UnitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@\\\-]{1,200}$")]
SqlName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
SqlHost = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:%/\-]{1,255}$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?$")]
ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$")]
# What Linux takes (15 bytes), without what a shell, a file name or a configuration file would read.
NicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._\-]{0,14}$")]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", to_lower=True)]
IpAddress = Annotated[str, AfterValidator(_ip_address)]
InterfaceAddress = Annotated[str, AfterValidator(_interface_address)]
IpNetwork = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
OneLine = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+[^\s]*$", max_length=2000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]


class Params(BaseModel):
    """Parameters of one step type; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
