"""What hosts are made from, by the API: profiles, images, the package cache, roles, blueprints."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import (
    blueprint_check,
    blueprints,
    image_details,
    image_imports,
    images,
    profiles,
    role_catalogue,
)
from pxeforge.services.context import Context
from pxeforge.services.package_cache import cache_status
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told

_BY_NAME = Pages(names=("name",))
_Parameters = Annotated[dict[str, Any], Says(text="docs/reference/parameters.md")]


class Profile(TypedDict):
    """What hosts are installed with."""

    name: str
    image: str
    template: str
    parameters: dict[str, Any]
    created_at: float


class ProfileInFull(Profile):
    """`effective`: every parameter, with its default where the profile says nothing."""

    effective: dict[str, Any]


class NewProfile(TypedDict):
    name: str
    image: str
    template: NotRequired[str]
    parameters: NotRequired[_Parameters]


class ProfileChange(TypedDict):
    """What is left out stays as it is."""

    parameters: NotRequired[_Parameters]
    unset: NotRequired[Annotated[list[str], Says(text="parameters that shall have their default again")]]
    image: NotRequired[str]
    template: NotRequired[str]


class NewName(TypedDict):
    name: str


class ImagesAsked(TypedDict):
    name: NotRequired[str]
    arch: NotRequired[str]


class Image(TypedDict):
    """One version of an imported image."""

    name: str
    version: str
    arch: str
    suite: str
    kernel: str | None
    imported_at: float
    size_bytes: int
    installer: str | None
    distribution: str | None
    release: str | None
    verified: str
    tree: str | None
    live_image: str | None


class ImageFile(TypedDict):
    name: str
    size_bytes: int
    sha256: str


class ArmedWith(TypedDict):
    id: str
    name: str | None
    mac: str
    state: str


class UsedBy(TypedDict):
    profiles: list[str]
    hosts: list[ArmedWith]


class ImageInFull(Image):
    """With its files, and who needs it."""

    files: list[ImageFile]
    sources: dict[str, str]
    used_by: UsedBy


class Faults(TypedDict):
    faults: list[str]


class ImageWanted(TypedDict):
    """An image that needs no file of yours: docs/images.md."""

    name: Annotated[str, Says(text="e.g. debian-13, memtest, ubuntu-20.04")]
    source: NotRequired[Annotated[Literal["package", "mirror"], Says(text="default: what the name fits")]]
    mirror: NotRequired[Annotated[str, Says(text="address of another mirror than that of the settings; for admins")]]


class ImageImport(TypedDict):
    """The last import of an image that the server was asked for."""

    name: str
    state: Literal["waiting", "running", "succeeded", "failed", "cancelled"]
    source: Literal["package", "mirror"]
    mirror: str | None
    asked_by: str
    asked_at: float
    started_at: float | None
    ended_at: float | None
    step: Annotated[
        Literal["index", "download", "check", "unpack", "done"] | None, Says(text="what it does while it runs")
    ]
    doing: Annotated[str | None, Says(text="the file that it is at, or other words for people")]
    done_bytes: Annotated[int, Says(text="of this step")]
    total_bytes: Annotated[int, Says(text="of this step; 0: nobody knows")]
    image_version: Annotated[str | None, Says(text="the version that is there now")]
    fresh: Annotated[bool | None, Says(text="false: this version was there already")]
    problem: Annotated[str | None, Says(text="why there is no image, and what to do")]


class CacheStatus(TypedDict):
    mirrors: dict[str, Any]
    offline: bool
    max_bytes: int | None
    hit_rate: float | None
    counters: dict[str, int]
    missing: list[Any]


class RoleVariable(TypedDict):
    name: str
    type: str
    default: Any
    allowed: Annotated[str, Says(text="which values it may have, in words; empty for any of its type")]
    help: str
    secret: bool


class RoleShown(TypedDict):
    name: str
    summary: str
    requires: list[str]
    problem: Annotated[str | None, Says(text="what is wrong in the files of a role that cannot be used")]
    variables: list[RoleVariable]


class BlueprintShown(TypedDict):
    name: str
    summary: str


class BlueprintFinding(TypedDict):
    """Something wrong in a blueprint, and how it is mended."""

    file: str
    line: int
    message: str
    fix: str


class BlueprintInFull(BlueprintShown):
    """With its text, what is wrong in it (`findings`), its rules, and the hosts that they take now."""

    file: str
    text: str
    variables: dict[str, Any]
    rules: list[dict[str, Any]]
    hosts: list[dict[str, Any]]
    findings: list[BlueprintFinding]
    networks: list[dict[str, Any]]
    vips: list[dict[str, Any]]
    tolerance: dict[str, str]
    release: str | None


class BlueprintText(TypedDict):
    """A blueprint that is not at hand here."""

    text: str
    file: NotRequired[Annotated[str, Says(text="what it is called in the findings")]]
    beside: NotRequired[Annotated[dict[str, str], Says(text="by name, texts of blueprints that it may extend")]]


class BlueprintChecked(TypedDict):
    findings: list[BlueprintFinding]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _profile_routes(api, ctx)
    _image_routes(api, ctx)

    @api.get("/mirror")
    @told(gives=CacheStatus)
    def mirror_status() -> Any:
        """What the package cache did and holds."""
        return cache_status(ctx.data_dir / "cache")

    @api.get("/roles")
    @told(gives=RoleShown, pages=_BY_NAME, problems=(404,))
    def list_roles() -> Any:
        """Roles that hosts can be given, and those that are broken."""
        return role_catalogue.all_roles(ctx)

    @api.get("/blueprints")
    @told(gives=BlueprintShown, pages=_BY_NAME, problems=(404,))
    def list_blueprints() -> Any:
        """Blueprints at hand."""
        return blueprints.list_blueprints(ctx)

    @api.get("/blueprints/<name>")
    @told(gives=BlueprintInFull, problems=(404,))
    def show_blueprint(name: str) -> Any:
        """One blueprint, what is wrong in it, and how it fits the hosts."""
        return blueprints.show(ctx, name)

    @api.post("/blueprints/check")
    @told(takes=BlueprintText, gives=BlueprintChecked)
    def check_blueprint(body: dict[str, Any]) -> Any:
        """What is wrong in a blueprint that is sent; nothing is kept."""
        found = blueprint_check.check(ctx, body.get("file", "blueprint.yaml"), body["text"], body.get("beside", {}))
        return {"findings": found}


def _profile_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/profiles")
    @told(gives=Profile, pages=_BY_NAME)
    def list_profiles() -> Any:
        """All profiles."""
        return profiles.list_profiles(ctx)

    @api.post("/profiles")
    @told(takes=NewProfile, gives=Profile, status=201, problems=(404, 409), once=True)
    def create_profile(body: dict[str, Any]) -> Any:
        """Makes a profile."""
        body.setdefault("parameters", {})
        return profiles.create(ctx, body.pop("name"), who=g.who, **body)

    @api.get("/profiles/<profile>")
    @told(gives=ProfileInFull, problems=(404,))
    def show_profile(profile: str) -> Any:
        """One profile."""
        return profiles.show(ctx, profile)

    @api.patch("/profiles/<profile>")
    @told(takes=ProfileChange, gives=Profile, problems=(404, 409), versioned=True)
    def change_profile(profile: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Sets and unsets parameters; hosts that are armed keep what they were armed with."""
        body.setdefault("parameters", {})
        return profiles.change(ctx, profile, who=g.who, expected_version=expected_version, **body)

    @api.delete("/profiles/<profile>")
    @told(problems=(404, 409), versioned=True)
    def remove_profile(profile: str, expected_version: str | None) -> Any:
        """Removes a profile that no host is armed for."""
        profiles.remove(ctx, profile, who=g.who, expected_version=expected_version)
        return {}

    @api.post("/profiles/<profile>/clone")
    @told(takes=NewName, gives=Profile, status=201, problems=(404, 409), once=True)
    def clone_profile(profile: str, body: dict[str, Any]) -> Any:
        """A profile of another name with the same image, template and parameters."""
        return profiles.clone(ctx, profile, body["name"], who=g.who)


def _image_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/images")
    @told(asks=ImagesAsked, gives=Image, pages=Pages(names=("name", "version")))
    def list_images(query: dict[str, Any]) -> Any:
        """Every version of every image."""
        return [row for row in images.list_images(ctx) if all(row[key] == value for key, value in query.items())]

    @api.post("/images")
    @told(takes=ImageWanted, gives=ImageImport, status=202, problems=(409,), once=True)
    def import_image(body: dict[str, Any]) -> Any:
        """Begins to import an image; `GET /image-imports/NAME` tells how far it is."""
        return image_imports.ask(ctx, body.pop("name"), actor=g.actor, **body)

    @api.get("/images/<name>")
    @told(gives=list[ImageInFull], problems=(404,))
    def show_image(name: str) -> Any:
        """All versions of an image, newest first, with their files."""
        return image_details.details(ctx, name)

    @api.post("/images/<name>/verify")
    @told(gives=Faults, problems=(404,), once=True)
    def verify_image(name: str) -> Any:
        """Hashes every file again and tells which are not as they were imported."""
        return {"faults": image_details.verify(ctx, name, who=g.who)}

    @api.delete("/images/<name>")
    @told(problems=(404, 409))
    def remove_image(name: str) -> Any:
        """Removes every version of an image that nobody needs."""
        images.remove(ctx, name, who=g.who)
        return {}

    @api.get("/image-imports")
    @told(gives=ImageImport, pages=_BY_NAME)
    def list_image_imports() -> Any:
        """The last import of each image that the server was asked for."""
        return image_imports.list_imports(ctx)

    @api.get("/image-imports/<name>")
    @told(gives=ImageImport, problems=(404,))
    def show_image_import(name: str) -> Any:
        """How far an import is, or how it ended."""
        return image_imports.show(ctx, name)

    @api.post("/image-imports/<name>/cancel")
    @told(gives=ImageImport, problems=(404, 409), once=True)
    def cancel_image_import(name: str) -> Any:
        """Ends an import; nothing of it becomes an image."""
        return image_imports.cancel(ctx, name, who=g.who)
