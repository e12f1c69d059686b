set(KERN_CHIP_C ${KERN_DIR}/flash_semihosted.c ${KERN_DIR}/guard_arm.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_arm.S)
