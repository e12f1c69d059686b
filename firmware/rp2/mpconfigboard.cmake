# The port's own board with our linker script, which leaves RAM and flash to the kernels (see host/firmware_files.py).
include(${MICROPY_PORT_DIR}/boards/${MICROPY_BOARD}/mpconfigboard.cmake)
list(APPEND MICROPY_DEF_BOARD KERN_MICROPYTHON_BOARD="boards/${MICROPY_BOARD}/mpconfigboard.h")
cmake_language(DEFER CALL set_target_properties firmware PROPERTIES PICO_TARGET_LINKER_SCRIPT ${KERN_GENERATED}/memmap.ld)
