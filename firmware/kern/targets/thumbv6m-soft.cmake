# Cortex-M0+: no FPU, no divider, no long multiply; floats are our own.
set(KERN_WAMR_DEFINITIONS BUILD_TARGET_THUMB BUILD_TARGET="THUMBV6M" KERN_AOT_TARGET="thumbv6m" KERN_HARD_FLOATS=0 WASM_UINT32_IS_ATOMIC=0
    WASM_UINT16_IS_ATOMIC=0)
set(KERN_INVOKE_NATIVE invokeNative_thumb.s)
set(KERN_NATIVE_FLAGS -mcpu=cortex-m0plus -mthumb)
set(KERN_CRYPTO_SOURCES ${KERN_DIR}/crypto/field_armv6m.S ${KERN_DIR}/crypto/sha256_armv6m.S)
set(KERN_FLOAT_SOURCES ${KERN_DIR}/../softfloat/softfloat_armv6m.S ${KERN_DIR}/../softfloat/softfloat_rare.c)

# ---- the compiler's float calls ----

# The compiler's float calls go to our routines: MicroPython's port wraps the usual ones to the boot ROM's, which flush denormals.
set(KERN_FLOAT_CALLS fadd=add fsub=sub fmul=mul fdiv=div i2f=from_i32 ui2f=from_u32 f2iz=to_i32 f2uiz=to_u32
    fcmpeq=eq fcmplt=lt fcmple=le fcmpge=ge fcmpgt=gt fcmpun=unordered)
set(KERN_REDEFINE --redefine-sym sqrtf=sf_sqrt --redefine-sym __clzsi2=sf_clz)
set(KERN_REDEFINE_LIBGCC --redefine-sym sqrtf=libgcc__ieee754_sqrtf --redefine-sym __clzsi2=libgcc__clzsi2)
foreach(call ${KERN_FLOAT_CALLS})
    string(REGEX REPLACE "=.*" "" name ${call})
    string(REPLACE "=" "=sf_" call ${call})
    list(APPEND KERN_REDEFINE --redefine-sym __aeabi_${call})
    list(APPEND KERN_REDEFINE_LIBGCC --redefine-sym __aeabi_${name}=libgcc__aeabi_${name})
endforeach()

# For the bench: the compiler's own routines and newlib's square root, under names with a prefix, in RAM as ours are.
if(KERN_NATIVE_LIBGCC)
    foreach(library libgcc.a libm.a)
        execute_process(COMMAND ${CMAKE_C_COMPILER} ${KERN_NATIVE_FLAGS} -print-file-name=${library}
            OUTPUT_VARIABLE KERN_${library} OUTPUT_STRIP_TRAILING_WHITESPACE)
    endforeach()
    set(KERN_LIBGCC_MEMBERS addsf3.o subsf3.o mulsf3.o divsf3.o _clzsi2.o gesf2.o lesf2.o eqsf2.o unordsf2.o _arm_cmpsf2.o
        fixsfsi.o _fixunssfsi.o floatsisf.o floatunsisf.o)
    set(KERN_LIBGCC_FLOATS ${CMAKE_BINARY_DIR}/natives/libgcc/floats.o)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/natives/libgcc)
    add_custom_command(OUTPUT ${KERN_LIBGCC_FLOATS}
        COMMAND ${CMAKE_AR} x ${KERN_libgcc.a} ${KERN_LIBGCC_MEMBERS}
        COMMAND ${CMAKE_AR} x ${KERN_libm.a} lib_a-ef_sqrt.o
        COMMAND ${CMAKE_LINKER} -r -o whole.o ${KERN_LIBGCC_MEMBERS} lib_a-ef_sqrt.o
        COMMAND ${CMAKE_OBJCOPY} --prefix-symbols=libgcc --rename-section .text=.time_critical.libgcc
            --rename-section .text.__ieee754_sqrtf=.time_critical.libgcc_sqrtf whole.o ${KERN_LIBGCC_FLOATS}
        WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/natives/libgcc
        VERBATIM
    )
endif()

# ---- the interpreter's, in a debug build ----

set(KERN_REDEFINE_INTERPRETER) # a port may have included this file before
foreach(call l2f=f32_from_i64 ul2f=f32_from_u64 f2lz=f32_to_i64 f2ulz=f32_to_u64)
    list(APPEND KERN_REDEFINE_INTERPRETER --redefine-sym __aeabi_${call})
endforeach()
foreach(call ceil floor trunc)
    list(APPEND KERN_REDEFINE_INTERPRETER --redefine-sym ${call}f=f32_${call} --redefine-sym ${call}=no_f64_${call})
endforeach()
list(APPEND KERN_REDEFINE_INTERPRETER --redefine-sym rintf=f32_nearest --redefine-sym rint=no_f64_rint --redefine-sym sqrt=no_f64_sqrt)
foreach(call dadd dsub dmul ddiv dcmpeq dcmplt dcmple dcmpge dcmpgt dcmpun i2d ui2d l2d ul2d d2iz d2uiz d2lz d2ulz d2f f2d)
    list(APPEND KERN_REDEFINE_INTERPRETER --redefine-sym __aeabi_${call}=no_f64_${call})
endforeach()
