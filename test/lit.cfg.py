"""lit: every .mlir file is a test."""

import os

import lit.formats

config.name = "epiq"  # noqa: F821
config.test_format = lit.formats.ShTest()  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.test_source_root = os.path.dirname(__file__)  # noqa: F821
root = os.path.dirname(config.test_source_root)  # noqa: F821
config.test_exec_root = os.path.join(root, "build", "test")  # noqa: F821

tools = os.environ.get("EPIQ_BIN")
if tools is None:
    import epiq.tools

    tools = str(epiq.tools.tool_path("epiq-opt").parent)
config.environment["PATH"] = os.pathsep.join([tools, os.environ["PATH"]])  # noqa: F821
