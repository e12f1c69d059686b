# RISC-V with multiplication and compressed instructions, no FPU: floats are libgcc's, which are exact. The firmware may have atomic
# instructions too: Debian's libraries have no variant without.
set(KERN_WAMR_DEFINITIONS BUILD_TARGET_RISCV32_ILP32 BUILD_TARGET="RISCV32_ILP32" KERN_AOT_TARGET="riscv32")
set(KERN_INVOKE_NATIVE invokeNative_riscv.S)
set(KERN_NATIVE_FLAGS -march=rv32imac -mabi=ilp32 -misa-spec=2.2 --specs=picolibc.specs)
set(KERN_CRYPTO_SOURCES)
set(KERN_FLOAT_SOURCES ${KERN_DIR}/../softfloat/softfloat_compiler.c ${KERN_DIR}/../softfloat/softfloat_rare.c)
