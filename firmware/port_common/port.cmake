# What the CMakeLists.txt of our own ports have in common. Each sets MICROPY_DIR and PORT_SOURCES, its C and assembler files, includes
# this, and adds to the target `firmware` what else it needs.

set(MICROPY_TARGET firmware)
set(MICROPY_PORT_DIR ${CMAKE_CURRENT_SOURCE_DIR})
set(PORT_COMMON ${CMAKE_CURRENT_LIST_DIR})
set(MICROPY_FROZEN_MANIFEST ${PORT_COMMON}/manifest.py)

include(${MICROPY_DIR}/py/py.cmake)
include(${MICROPY_DIR}/extmod/extmod.cmake)
include(${MICROPY_DIR}/py/usermod.cmake)

add_executable(${MICROPY_TARGET})
set_target_properties(${MICROPY_TARGET} PROPERTIES SUFFIX .elf)

set(PORT_COMMON_SOURCES
    ${PORT_COMMON}/flash_device.c
    ${PORT_COMMON}/loop.c
    ${PORT_COMMON}/time.c
)
set(PORT_MICROPYTHON_SOURCES
    ${MICROPY_DIR}/extmod/machine_timer.c
    ${MICROPY_DIR}/lib/littlefs/lfs2.c
    ${MICROPY_DIR}/lib/littlefs/lfs2_util.c
    ${MICROPY_DIR}/shared/readline/readline.c
    ${MICROPY_DIR}/shared/runtime/interrupt_char.c
    ${MICROPY_DIR}/shared/runtime/pyexec.c
    ${MICROPY_DIR}/shared/runtime/softtimer.c
    ${MICROPY_DIR}/shared/runtime/stdout_helpers.c
    ${MICROPY_DIR}/shared/runtime/sys_stdio_mphal.c
    ${MICROPY_DIR}/shared/timeutils/timeutils.c
)
set(MICROPY_SOURCE_QSTR
    ${MICROPY_SOURCE_PY}
    ${MICROPY_SOURCE_EXTMOD}
    ${MICROPY_SOURCE_USERMOD}
    ${MICROPY_DIR}/extmod/machine_timer.c
    ${MICROPY_DIR}/shared/readline/readline.c
    ${MICROPY_DIR}/shared/runtime/sys_stdio_mphal.c
    ${PORT_COMMON_SOURCES}
)

target_sources(${MICROPY_TARGET} PRIVATE
    ${MICROPY_SOURCE_PY}
    ${MICROPY_SOURCE_EXTMOD}
    ${PORT_MICROPYTHON_SOURCES}
    ${PORT_COMMON_SOURCES}
    ${PORT_SOURCES}
)
set_source_files_properties(${PORT_COMMON_SOURCES} ${PORT_SOURCES} PROPERTIES COMPILE_OPTIONS "-Wextra;-Wno-unused-parameter")
target_link_libraries(${MICROPY_TARGET} usermod)
target_include_directories(${MICROPY_TARGET} PRIVATE
    ${MICROPY_INC_CORE}
    ${MICROPY_INC_USERMOD}
    ${MICROPY_PORT_DIR}
    ${PORT_COMMON}
    ${CMAKE_BINARY_DIR}
)
target_compile_options(${MICROPY_TARGET} PRIVATE -Wall -Werror -g)
target_compile_definitions(${MICROPY_TARGET} PRIVATE
    FFCONF_H=\"${MICROPY_OOFATFS_DIR}/ffconf.h\" # a header of MicroPython asks for it, without FAT too
    LFS2_NO_MALLOC LFS2_NO_DEBUG LFS2_NO_WARN LFS2_NO_ERROR LFS2_NO_ASSERT
    MICROPY_BUILD_TYPE="${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION} ${CMAKE_BUILD_TYPE}"
)
target_link_options(${MICROPY_TARGET} PRIVATE -Wl,--gc-sections -Wl,-Map=${CMAKE_BINARY_DIR}/${MICROPY_TARGET}.elf.map)

include(${MICROPY_DIR}/py/mkrules.cmake)
