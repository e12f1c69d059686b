# The ESP32 family, in ESP-IDF's build of MicroPython's esp32 port.
set(KERN_CHIP_C ${KERN_DIR}/flash_esp32.c ${KERN_DIR}/guard_esp32.c)
set(KERN_MEMORY_C ${KERN_DIR}/memory_esp32.c)
set(KERN_CHIP_DEFINITIONS KERN_CODE_ELSEWHERE=1 KERN_HOT_SECTION=".iram1.")
target_link_options(usermod INTERFACE -Wl,--wrap=xt_unhandled_exception)

# The port wants btree, whose library is not among MicroPython's pinned sources.
set(MICROPY_PY_BTREE OFF)
add_library(micropy_extmod_btree INTERFACE)
