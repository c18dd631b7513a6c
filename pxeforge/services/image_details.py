"""An image as an operator looks at it: its versions with their files, who needs it, and whether it is still whole."""

from __future__ import annotations

from typing import Any

from pxeforge.services import attempts, images
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.image_store import list_images, verify_image
from pxeforge.services.problems import NotFound


def overview(ctx: Context) -> list[dict[str, Any]]:
    """All images, each with `used_by`: the names of its profiles, and the hosts that are armed with this version."""
    uses = attempts.using_images(ctx)
    return [{**row, "used_by": _used_by(uses, row["name"], row["version"])} for row in images.list_images(ctx)]


def details(ctx: Context, name: str) -> list[dict[str, Any]]:
    """The versions of an image, newest first, with their files and digests; raises NotFound."""
    rows = {row["version"]: row for row in overview(ctx) if row["name"] == name}
    found = [
        {
            **rows[image.version],
            "files": [{"name": inside, "size_bytes": file.size, "sha256": file.sha256}
                      for inside, file in sorted(image.files.items())],
            "sources": dict(sorted(image.sources.items())),
        }
        for image in reversed(list_images(ctx.data_dir))
        if image.name == name and image.version in rows
    ]  # fmt: skip
    if not found:
        raise NotFound(f"there is no image {name}: see `pxeforge image list`")
    return found


def verify(ctx: Context, name: str, *, who: str) -> list[str]:
    """Hashes every file of every version again; what is wrong, one sentence each. Raises NotFound."""
    versions = [image for image in list_images(ctx.data_dir) if image.name == name]
    if not versions:
        raise NotFound(f"there is no image {name}: see `pxeforge image list`")
    inside = f"{ctx.data_dir}/"  # where the data lies is nobody's business on a page
    faults = [
        f"{image.version}: {fault}".replace(inside, "") for image in versions for fault in verify_image(image.path)
    ]
    said = f"image {name} verified: " + (f"{len(faults)} faults" if faults else "every file is as it was imported")
    with ctx.database.write() as session:
        record(
            session, ctx, source="operator", kind="image_verified", who=who, message=said, data={"faults": faults[:20]}
        )
    return faults


def _used_by(uses: dict[str, attempts.Use], name: str, version: str) -> dict[str, Any]:
    of_name, of_version = uses.get(name, attempts.Use()), uses.get(f"{name}/{version}", attempts.Use())
    return {"profiles": list(of_name.profiles), "hosts": [dict(host) for host in of_version.hosts]}
