set(QEMU_ARCH riscv32)
set(QEMU_SOURCES ${QEMU_DIR}/riscv32/virt.c)
