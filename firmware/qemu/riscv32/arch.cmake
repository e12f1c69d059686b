set(QEMU_ARCH_SOURCES
    ${QEMU_DIR}/riscv32/startup.S
    ${QEMU_DIR}/riscv32/trap.c
)
set(QEMU_LIBRARY_SOURCES
    ${MICROPY_DIR}/shared/runtime/gchelper_native.c
    ${MICROPY_DIR}/shared/runtime/gchelper_rv32i.s
)
