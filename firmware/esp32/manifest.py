# The port's boards/manifest.py but for the drivers of micropython-lib, which is not part of the pinned sources.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
