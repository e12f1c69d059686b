// What WAMR's interpreter needs beside what AOT code has: bytecode in RAM, an operand stack, C functions as entry points.
//
// The interpreter writes to its exec_env, its instance and linear memory only, and it allocates nothing. So it may be left at
// any instruction like AOT code, and the instance is thrown away then.
#include "interpreted.h"

#include <string.h>

#include "wasm_runtime.h"

#include "guard.h"
#include "kern_board.h"

#define NATIVE_STACK (4096) // bytes of the kernel stack for the interpreter's C code; below them lie wasm's frames

struct interpreted {
    wasm_function_inst_t entry, init, cleanup;
    uint8_t bytecode[];
};

uint8_t *interpreted_copy(struct instance *instance, const struct image_kernel *kernel) {
    instance->interpreted = wasm_runtime_malloc(sizeof(*instance->interpreted) + kernel->body_size);
    return instance->interpreted != NULL ? memcpy(instance->interpreted->bytecode, kernel->body, kernel->body_size) : NULL;
}

const WASMFuncType *interpreted_type(wasm_function_inst_t function) {
    return ((const WASMFunctionInstance *)function)->u.func->func_type;
}

// ---- calls ----

static _Noreturn void no_f64(void) {
    os_printf("there are no f64 operators on a board\n");
    guard_trap(KERN_KERNEL_ERROR, (uintptr_t)__builtin_return_address(0));
}

// What the interpreter calls for f64 operators (see micropython.cmake).
#define NO_F64(operator) void no_f64_##operator(void) __attribute__((alias("no_f64")))
NO_F64(dadd);
NO_F64(dsub);
NO_F64(dmul);
NO_F64(ddiv);
NO_F64(dcmpeq);
NO_F64(dcmplt);
NO_F64(dcmple);
NO_F64(dcmpge);
NO_F64(dcmpgt);
NO_F64(dcmpun);
NO_F64(i2d);
NO_F64(ui2d);
NO_F64(l2d);
NO_F64(ul2d);
NO_F64(d2iz);
NO_F64(d2uiz);
NO_F64(d2lz);
NO_F64(d2ulz);
NO_F64(d2f);
NO_F64(f2d);
NO_F64(sqrt);
NO_F64(ceil);
NO_F64(floor);
NO_F64(trunc);
NO_F64(rint);

// WAMR calls it after an import of its C API has failed; a kernel has no imports. WAMR's own would bring all of that API.
void wasm_trap_delete(void *trap) {
    (void)trap;
    guard_trap(KERN_KERNEL_ERROR, (uintptr_t)__builtin_return_address(0));
}

static int error_of(const char *exception) {
    static const struct {
        const char *text;
        int error;
    } errors[] = {
        { "unreachable", KERN_UNREACHABLE },
        { "out of bounds memory access", KERN_MEMORY_ACCESS_VIOLATION },
        { "integer overflow", KERN_INTEGER_OVERFLOW },
        { "integer divide by zero", KERN_INTEGER_DIVIDE_BY_ZERO },
        { "invalid conversion to integer", KERN_INVALID_CONVERSION },
        { "indirect call type mismatch", KERN_INDIRECT_CALL_TYPE_MISMATCH },
        { "undefined element", KERN_UNDEFINED_ELEMENT },
        { "uninitialized element", KERN_UNDEFINED_ELEMENT },
        { "unknown function", KERN_UNDEFINED_ELEMENT },
        { "out of bounds table access", KERN_UNDEFINED_ELEMENT },
        { "stack overflow", KERN_STACK_OVERFLOW }, // operand, auxiliary and native
        { "stack underflow", KERN_STACK_OVERFLOW },
    };
    for (uint32_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (strstr(exception, errors[i].text) != NULL) {
            return errors[i].error;
        }
    }
    return KERN_KERNEL_ERROR;
}

static uint32_t call(wasm_exec_env_t env, wasm_function_inst_t function, uint32_t count, uint32_t a, uint32_t b) {
    uint32_t arguments[2] = { a, b };
    if (!wasm_runtime_call_wasm(env, function, count, arguments)) {
        guard_trap(error_of(wasm_runtime_get_exception(wasm_runtime_get_module_inst(env))), 0);
    }
    return arguments[0];
}

static struct interpreted *of(wasm_exec_env_t env) {
    return wasm_runtime_get_user_data(env);
}

static uint32_t run_entry(wasm_exec_env_t env, uint32_t descriptor) {
    return call(env, of(env)->entry, 1, descriptor, 0);
}

static uint32_t run_init(wasm_exec_env_t env, uint32_t params, uint32_t size) {
    return call(env, of(env)->init, 2, params, size);
}

static uint32_t run_cleanup(wasm_exec_env_t env) {
    return call(env, of(env)->cleanup, 0, 0, 0);
}

void interpreted_prepare(struct instance *instance, wasm_function_inst_t entry, wasm_function_inst_t init, wasm_function_inst_t cleanup) {
    uint8_t *bottom = (uint8_t *)KERN_STACK_ADDRESS;
    WASMExecEnv *env = instance->env;
    env->wasm_stack_size = KERN_STACK_SIZE - NATIVE_STACK;
    env->wasm_stack.bottom = env->wasm_stack.top = bottom;
    env->wasm_stack.top_boundary = env->user_native_stack_boundary = bottom + env->wasm_stack_size;
    wasm_runtime_set_user_data(env, instance->interpreted);
    // Bytecode cannot grow its memory either: all that it may use is there from the start.
    WASMMemoryInstance *memory = ((WASMModuleInstance *)instance->inst)->memories[0];
    memory->max_page_count = memory->cur_page_count;
    instance->interpreted->entry = entry;
    instance->interpreted->init = init;
    instance->interpreted->cleanup = cleanup;
    instance->entry = run_entry;
    instance->init = run_init;
    instance->cleanup = run_cleanup;
}
