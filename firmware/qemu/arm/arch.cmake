set(QEMU_ARCH_SOURCES ${QEMU_DIR}/arm/startup.c)
set(QEMU_LIBRARY_SOURCES
    ${MICROPY_DIR}/lib/libm/ef_sqrt.c
    ${MICROPY_DIR}/shared/runtime/gchelper_native.c
    ${MICROPY_DIR}/shared/runtime/gchelper_thumb1.s
)
