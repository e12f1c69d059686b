# Cortex-M33 with FPU: floats are the processor's, and the ABI passes them in its registers.
set(KERN_WAMR_DEFINITIONS BUILD_TARGET_THUMB_VFP BUILD_TARGET="THUMBV8M.MAIN" KERN_AOT_TARGET="thumbv8m.main"
    KERN_HARD_FLOATS=1)
set(KERN_INVOKE_NATIVE invokeNative_thumb_vfp.s)
set(KERN_NATIVE_FLAGS -mcpu=cortex-m33 -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard -fno-math-errno)
set(KERN_CRYPTO_SOURCES)
set(KERN_FLOAT_SOURCES ${KERN_DIR}/../softfloat/softfloat_compiler.c ${KERN_DIR}/../softfloat/softfloat_rare.c)
