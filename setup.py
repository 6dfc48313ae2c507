"""The compiled modules; all other metadata is in pyproject.toml.

Some plain Python modules on the request path are also compiled by Cython: the same source, typed by the ``.pxd`` file
beside it. Every one of them still runs uncompiled, and does where there is no compiler or where
``SIDEGATE_NO_EXTENSIONS`` is set; ``optional`` lets an installation without compiler or libnghttp2-dev go on.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# The source root: package-dir of pyproject.toml.
ROOT = Path("proxy")

NGHTTP2 = "proxy/sidegate/wire/http2/nghttp2"

# Every module that has a .pxd file beside its .py file is compiled.
COMPILED = sorted(path.with_suffix(".py") for path in ROOT.rglob("*.pxd") if path.with_suffix(".py").exists())

# Debug information would be five sixths of the files.
FLAGS = ["-g0", "-O2"]

extensions = [
    Extension(
        "sidegate.wire.http2.nghttp2",
        [f"{NGHTTP2}.pyx"],
        depends=[f"{NGHTTP2}.pxd", *sorted(map(str, Path("proxy/sidegate/wire/http2").glob("*.pxi")))],
        libraries=["nghttp2"],
        extra_compile_args=FLAGS,
        optional=True,
    ),
    Extension("sidegate.aio.step", ["proxy/sidegate/aio/step.pyx"], extra_compile_args=FLAGS, optional=True),
    *(
        Extension(
            ".".join(source.with_suffix("").relative_to(ROOT).parts),
            [str(source)],
            depends=[str(source.with_suffix(".pxd"))],
            extra_compile_args=FLAGS,
            optional=True,
        )
        for source in COMPILED
    ),
]

compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]

setup(
    ext_modules=cythonize(
        extensions if shutil.which(compiler) else [],
        build_dir="build/cython",
        include_path=[str(ROOT)],
        nthreads=os.cpu_count() or 1,
        # Annotations stay mypy's business: as C types they would refuse subclasses and None where Python does not.
        compiler_directives={"language_level": 3, "annotation_typing": False, "binding": False},
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
