set(QEMU_ARCH arm)
set(QEMU_SOURCES ${QEMU_DIR}/arm/mps2.c)
