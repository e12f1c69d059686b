set(KERN_CHIP_C ${KERN_DIR}/flash_rp2.c ${KERN_DIR}/guard_arm.c)
set(KERN_CHIP_ASM ${KERN_DIR}/guard_arm.S)
# The SDK has the FPU, but its floats in C pass in the processor's other registers.
list(TRANSFORM KERN_NATIVE_FLAGS REPLACE "-mfloat-abi=hard" "-mfloat-abi=softfp")
