set(KERN_CHIP_C ${KERN_DIR}/flash_rp2.c ${KERN_DIR}/guard_arm.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_arm.S)
