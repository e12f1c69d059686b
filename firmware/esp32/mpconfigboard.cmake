# The port's own board, without Bluetooth, whose memory the kernels take, and with our partitions (see host/firmware_ports/esp32.py).
include(${MICROPY_PORT_DIR}/boards/${MICROPY_BOARD}/mpconfigboard.cmake)
list(REMOVE_ITEM SDKCONFIG_DEFAULTS boards/sdkconfig.ble)
list(TRANSFORM SDKCONFIG_DEFAULTS PREPEND ${MICROPY_PORT_DIR}/)
list(APPEND SDKCONFIG_DEFAULTS ${MICROPY_BOARD_DIR}/sdkconfig.kern ${MICROPY_BOARD_DIR}/sdkconfig.partitions)
