"""What setup.cfg cannot say: asset folders go into the wheel; the two pieces of C are left out without a compiler."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

ASSETS = ("boot_templates", "preseed", "kickstart", "autoinstall", "web", "roles", "blueprints", "releases")
# git keeps no empty folder: a kind without files may be missing in a clone.
PRESENT = [kind for kind in ASSETS if Path(kind).is_dir()]

setup(
    ext_modules=[
        Extension(f"pxeforge.servers.{name}", [f"pxeforge/servers/{name}.c"], py_limited_api=True, optional=True)
        for name in ("lockstep", "pour")
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    packages=[*find_packages(include=["pxeforge", "pxeforge.*"]), *(f"pxeforge._assets.{kind}" for kind in PRESENT)],
    package_dir={f"pxeforge._assets.{kind}": kind for kind in PRESENT},
    package_data={
        **{f"pxeforge._assets.{kind}": ["*", "**/*", "**/.*"] for kind in PRESENT},
        "pxeforge.servers": ["*.pyi"],
        # Alembic reads its revisions as files; without __init__.py find_packages does not see them.
        "pxeforge.store": ["migrations/*", "migrations/**/*"],
        "pxeforge.render": ["schemas/*"],
    },
)
