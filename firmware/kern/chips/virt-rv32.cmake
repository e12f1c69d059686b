set(KERN_CHIP_C ${KERN_DIR}/flash_semihosted.c ${KERN_DIR}/guard_riscv32.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_riscv32.S)
