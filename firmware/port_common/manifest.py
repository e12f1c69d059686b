# As the rp2 port's, but for what needs its hardware.
freeze("modules")
include("$(MPY_DIR)/extmod/asyncio")
