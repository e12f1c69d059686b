# The port's own board with our linker script, which leaves RAM and flash to the kernels (see host/firmware.py).
include(${MICROPY_PORT_DIR}/boards/RPI_PICO/mpconfigboard.cmake)
cmake_language(DEFER CALL set_target_properties firmware PROPERTIES PICO_TARGET_LINKER_SCRIPT ${KERN_GENERATED}/memmap.ld)
