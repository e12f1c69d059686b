set(KERN_CHIP_C ${KERN_DIR}/flash_rp2040.c ${KERN_DIR}/guard_rp2040.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_armv6m.S)
