# x86-64: floats are SSE's, which are exact; nothing that the compiler calls has to be replaced.
set(KERN_WAMR_DEFINITIONS BUILD_TARGET_X86_64 BUILD_TARGET="X86_64" KERN_AOT_TARGET="x86_64" KERN_HARD_FLOATS=1)
set(KERN_INVOKE_NATIVE invokeNative_em64.s)
set(KERN_NATIVE_FLAGS -march=x86-64 -mfpmath=sse -fno-math-errno -fno-pie)
set(KERN_CRYPTO_SOURCES)
set(KERN_FLOAT_SOURCES ${KERN_DIR}/../softfloat/softfloat_compiler.c ${KERN_DIR}/../softfloat/softfloat_rare.c)
