# Module kern: our sources, WAMR's AOT runtime, Ed25519, exact soft floats and the kernels' native references.
#
# Set by host/firmware.py: KERN_TARGET (target id of AOT code) and KERN_CHIP, whose files in targets/ and chips/ say what differs;
# KERN_GENERATED (folder of generated headers), WAMR_ROOT, MONOCYPHER_ROOT, KERN_INTERPRETER (1 in a debug build, else 0), and in
# ${KERN_GENERATED}/natives.cmake the list KERN_NATIVE_KERNELS of "id|entry point|source", KERN_NATIVE_OPTIMISATION, and
# KERN_NATIVE_LIBGCC: whether every reference is there once more, with libgcc's floats.

set(KERN_DIR ${CMAKE_CURRENT_LIST_DIR})
include(${KERN_GENERATED}/natives.cmake)
include(${KERN_DIR}/targets/${KERN_TARGET}.cmake)
set(KERN_MEMORY_C ${KERN_DIR}/claim.c)
include(${KERN_DIR}/chips/${KERN_CHIP}.cmake)

# ---- WAMR ----

set(WAMR_CORE ${WAMR_ROOT}/core)
set(WAMR_IWASM ${WAMR_CORE}/iwasm)
add_library(kern_wamr STATIC
    ${WAMR_CORE}/shared/utils/bh_bitmap.c
    ${WAMR_CORE}/shared/utils/bh_common.c
    ${WAMR_CORE}/shared/utils/bh_leb128.c
    ${WAMR_IWASM}/common/wasm_exec_env.c
    ${WAMR_IWASM}/common/wasm_loader_common.c
    ${WAMR_IWASM}/aot/aot_intrinsic.c
    ${KERN_GENERATED}/aot_loader.c
    ${KERN_GENERATED}/aot_runtime.c
    ${WAMR_IWASM}/aot/aot_validator.c
)
target_include_directories(kern_wamr PUBLIC
    ${KERN_DIR}/wamr_platform
    ${KERN_DIR}
    ${WAMR_CORE}
    ${WAMR_CORE}/shared/platform/include
    ${WAMR_CORE}/shared/mem-alloc
    ${WAMR_CORE}/shared/utils
    ${WAMR_IWASM}/include
    ${WAMR_IWASM}/common
    ${WAMR_IWASM}/interpreter
    ${WAMR_IWASM}/aot
)
target_compile_definitions(kern_wamr PUBLIC
    ${KERN_WAMR_DEFINITIONS}
    ${KERN_CHIP_DEFINITIONS}
    BH_MALLOC=wasm_runtime_malloc
    BH_FREE=wasm_runtime_free
    WASM_ENABLE_AOT=1
    WASM_ENABLE_AOT_VALIDATOR=1
    WASM_ENABLE_INTERP=${KERN_INTERPRETER}
    KERN_INTERPRETER=${KERN_INTERPRETER}
    BH_DEBUG=${KERN_INTERPRETER}
    WASM_ENABLE_FAST_INTERP=0
    WASM_ENABLE_BULK_MEMORY=1
    WASM_ENABLE_BULK_MEMORY_OPT=${KERN_INTERPRETER}
    WASM_ENABLE_THREAD_MGR=0
    WASM_ENABLE_SHARED_MEMORY=0
    WASM_ENABLE_LIBC_BUILTIN=0
    WASM_ENABLE_LIBC_WASI=0
    WASM_ENABLE_SIMD=0
    WASM_ENABLE_REF_TYPES=0
    WASM_ENABLE_MODULE_INST_CONTEXT=0
    WASM_ENABLE_QUICK_AOT_ENTRY=0
    WASM_ENABLE_LOG=0
    WASM_CONFIGURABLE_BOUNDS_CHECKS=0
    WASM_DISABLE_HW_BOUND_CHECK=1
    WASM_DISABLE_STACK_HW_BOUND_CHECK=1
    WASM_HAVE_MREMAP=0
)
target_compile_options(kern_wamr PRIVATE -Os -w -ffunction-sections -fdata-sections)

# What stands between our code and WAMR's internals.
add_library(kern_engine STATIC
    ${KERN_DIR}/engine.c
    ${KERN_DIR}/instance.c
    ${KERN_DIR}/module_check.c
    ${KERN_DIR}/floats.c
    ${KERN_DIR}/wamr_platform/platform.c
    ${KERN_DIR}/wamr_platform/symbols.c
)
target_include_directories(kern_engine PRIVATE ${KERN_DIR} ${KERN_GENERATED})
target_compile_options(kern_engine PRIVATE -Os -std=gnu11 -Wall -Wextra -Werror -ffunction-sections -fdata-sections)
target_link_libraries(kern_engine PUBLIC kern_wamr kern_softfloat)
target_link_libraries(kern_wamr PUBLIC kern_engine) # each calls the other

# ---- Ed25519, SHA-256 ----

add_library(kern_crypto STATIC
    ${KERN_DIR}/ed25519.c # with monocypher.c in it
    ${KERN_DIR}/sha256.c
    ${KERN_CRYPTO_SOURCES}
    ${MONOCYPHER_ROOT}/src/optional/monocypher-ed25519.c
)
# The generated monocypher.c before the one that it is made of.
target_include_directories(kern_crypto PRIVATE ${KERN_GENERATED} ${KERN_DIR}/crypto ${MONOCYPHER_ROOT}/src
    ${MONOCYPHER_ROOT}/src/optional)
target_compile_options(kern_crypto PRIVATE -Os -ffunction-sections -fdata-sections)

# ---- floats ----

add_library(kern_softfloat STATIC ${KERN_FLOAT_SOURCES})
target_include_directories(kern_softfloat PUBLIC ${KERN_DIR}/../softfloat)
target_compile_options(kern_softfloat PRIVATE -Os -std=c11 -ffp-contract=off -Wall -Wextra -Werror -ffunction-sections -fdata-sections)

# ---- native references ----

set(KERN_KERNELS ${KERN_DIR}/../../kernels_aot)
set(KERN_NATIVE_OBJECTS ${KERN_LIBGCC_FLOATS})
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/natives)
foreach(native ${KERN_NATIVE_KERNELS})
    string(REPLACE "|" ";" native "${native}")
    list(GET native 0 id)
    list(GET native 1 entry)
    list(GET native 2 source)
    set(object ${CMAKE_BINARY_DIR}/natives/${id}.o)
    get_filename_component(folder ${source} DIRECTORY)
    add_custom_command(OUTPUT ${object}
        COMMAND ${CMAKE_C_COMPILER} ${KERN_NATIVE_FLAGS} ${KERN_NATIVE_OPTIMISATION} -std=c11 -ffp-contract=off -ffreestanding -DKERNEL_NATIVE
            -D${entry}=native_${id} -I${folder}/portable -I${folder} -I${KERN_KERNELS}/include/portable
            -I${KERN_KERNELS}/include -I${KERN_GENERATED} -MD -MF ${object}.d -c ${source} -o ${object}.tmp
        COMMAND ${CMAKE_OBJCOPY} ${KERN_REDEFINE} ${object}.tmp ${object}
        DEPENDS ${source}
        DEPFILE ${object}.d
        VERBATIM
    )
    list(APPEND KERN_NATIVE_OBJECTS ${object})
    if(KERN_NATIVE_LIBGCC)
        set(again ${CMAKE_BINARY_DIR}/natives/${id}_libgcc.o)
        add_custom_command(OUTPUT ${again}
            COMMAND ${CMAKE_OBJCOPY} ${KERN_REDEFINE_LIBGCC} --redefine-sym native_${id}=native_${id}_libgcc ${object}.tmp ${again}
            DEPENDS ${object}
            VERBATIM
        )
        list(APPEND KERN_NATIVE_OBJECTS ${again})
    endif()
endforeach()

# ---- the rest of WAMR's runtime; in a debug build its own, with interpreter, assertions and log ----

# The interpreter's float operators are C. Its object gets the routines that AOT code calls in place of the port's, and for double
# precision, which AOT code does not have either, one that ends the call. In a release build wamr_platform has what is needed, smaller.
if(KERN_INTERPRETER)
    file(GLOB WAMR_EMS ${WAMR_CORE}/shared/mem-alloc/ems/*.c)
    target_sources(kern_wamr PRIVATE
        ${WAMR_EMS}
        ${WAMR_CORE}/shared/mem-alloc/mem_alloc.c
        ${WAMR_CORE}/shared/utils/bh_hashmap.c
        ${WAMR_CORE}/shared/utils/bh_list.c
        ${WAMR_CORE}/shared/utils/bh_log.c
        ${WAMR_CORE}/shared/utils/bh_vector.c
        ${WAMR_IWASM}/common/wasm_memory.c
        ${WAMR_IWASM}/common/wasm_native.c
        ${WAMR_IWASM}/common/wasm_runtime_common.c
        ${WAMR_IWASM}/common/arch/${KERN_INVOKE_NATIVE}
        ${WAMR_IWASM}/interpreter/wasm_loader.c
        ${WAMR_IWASM}/interpreter/wasm_runtime.c
    )
    target_sources(kern_engine PRIVATE ${KERN_DIR}/interpreted.c)
    add_library(kern_interpreter OBJECT ${WAMR_IWASM}/interpreter/wasm_interp_classic.c)
    target_include_directories(kern_interpreter PRIVATE $<TARGET_PROPERTY:kern_wamr,INTERFACE_INCLUDE_DIRECTORIES>)
    target_compile_definitions(kern_interpreter PRIVATE $<TARGET_PROPERTY:kern_wamr,INTERFACE_COMPILE_DEFINITIONS>)
    target_compile_options(kern_interpreter PRIVATE -O2 -w -ffunction-sections -fdata-sections)
    set(KERN_INTERPRETER_OBJECT ${CMAKE_BINARY_DIR}/interpreter.o)
    add_custom_command(OUTPUT ${KERN_INTERPRETER_OBJECT}
        COMMAND ${CMAKE_OBJCOPY} ${KERN_REDEFINE} ${KERN_REDEFINE_INTERPRETER} $<TARGET_OBJECTS:kern_interpreter> ${KERN_INTERPRETER_OBJECT}
        DEPENDS $<TARGET_OBJECTS:kern_interpreter>
        VERBATIM
        COMMAND_EXPAND_LISTS
    )
else()
    target_sources(kern_engine PRIVATE ${KERN_DIR}/wamr_platform/pool.c ${KERN_DIR}/wamr_platform/runtime.c)
endif()

# ---- the module ----

add_custom_target(kern_objects DEPENDS ${KERN_NATIVE_OBJECTS} ${KERN_INTERPRETER_OBJECT})
add_dependencies(kern_engine kern_objects)

set(KERN_SOURCES
    ${KERN_DIR}/modkern.c
    ${KERN_DIR}/errors.c
    ${KERN_MEMORY_C}
    ${KERN_DIR}/collect.c
    ${KERN_DIR}/tensor.c
    ${KERN_DIR}/call.c
    ${KERN_DIR}/call_choose.c
    ${KERN_DIR}/call_shapes.c
    ${KERN_DIR}/run.c
    ${KERN_DIR}/pack.c
    ${KERN_DIR}/install.c
    ${KERN_DIR}/trust.c
    ${KERN_DIR}/status.c
    ${KERN_DIR}/arena.c
    ${KERN_DIR}/descriptor.c
    ${KERN_DIR}/layout.c
    ${KERN_DIR}/image.c
    ${KERN_DIR}/keyset.c
    ${KERN_DIR}/gate.c
    ${KERN_DIR}/store.c
    ${KERN_DIR}/known_answer.c
    ${KERN_DIR}/guard.c
    ${KERN_CHIP_C}
)
if(KERN_INTERPRETER)
    list(APPEND KERN_SOURCES ${KERN_DIR}/debug_log.c)
endif()
add_library(usermod_kern INTERFACE)
# The header too: names of exceptions are in it, and MicroPython collects names anew only when a source changes.
target_sources(usermod_kern INTERFACE ${KERN_SOURCES} ${KERN_CHIP_ASM} ${KERN_GENERATED}/kern_errors.h)
target_include_directories(usermod_kern INTERFACE
    ${KERN_DIR}
    ${KERN_DIR}/chips/${KERN_CHIP}
    ${KERN_GENERATED}
)
set_source_files_properties(${KERN_SOURCES} PROPERTIES COMPILE_OPTIONS "-Wall;-Wextra;-Wno-unused-parameter")
target_link_libraries(usermod INTERFACE usermod_kern kern_engine kern_crypto kern_softfloat ${KERN_NATIVE_OBJECTS}
    ${KERN_INTERPRETER_OBJECT})
