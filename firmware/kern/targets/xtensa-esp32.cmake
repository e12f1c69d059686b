# Xtensa as in ESP32 and ESP32-S3: an FPU for single precision, and register windows. AOT code calls with floats in address registers, as
# integers are. Division and square root are the compiler's and its library's.
set(KERN_WAMR_DEFINITIONS BUILD_TARGET_XTENSA BUILD_TARGET="XTENSA" KERN_AOT_TARGET="xtensa")
set(KERN_INVOKE_NATIVE invokeNative_xtensa.s)
set(KERN_NATIVE_FLAGS -mlongcalls)
set(KERN_CRYPTO_SOURCES)
set(KERN_FLOAT_SOURCES ${KERN_DIR}/../softfloat/softfloat_compiler.c ${KERN_DIR}/../softfloat/softfloat_rare.c)
