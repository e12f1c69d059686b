set(KERN_CHIP_C ${KERN_DIR}/flash_unix.c ${KERN_DIR}/guard_unix.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_x86_64.S)
