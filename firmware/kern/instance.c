// Loading and instantiating modules, and the private page.
//
// Every instance has its linear memory at the arena's start, so a tensor's offset is the same for all kernels. What a kernel
// keeps for itself, stack and data, lies in the first page; the data of a kernel that is not resident is saved in the
// runtime's pool, where no other kernel can reach it.
#include "instance.h"

#include <stdio.h>
#include <string.h>

#include "aot_runtime.h"
#include "bh_platform.h"
#include "wasm_memory.h"
#include "wasm_runtime_common.h"

#include "arena.h"
#include "code_address.h"
#include "guard.h"
#include "interpreted.h"
#include "module_check.h"

#define STACK_MARGIN (512)    // bytes below AOT code's stack check: an exception frame and what runtime helpers need
#define EXEC_ENV_STACK (64)   // bytes of WAMR's own operand stack, which AOT code does not use

char instance_message[112];
struct instance *instance_resident;

// ---- the private page ----

static void set_resident(struct instance *instance) {
    instance_resident = instance;
    guard_set_ticket(instance != NULL ? instance->ticket : 0);
}

void instance_page_out(void) {
    if (instance_resident != NULL) {
        memcpy(instance_resident->saved, arena_at(instance_resident->data_start), instance_resident->data_size);
        set_resident(NULL);
    }
}

void instance_page_in(struct instance *instance) {
    if (instance_resident != instance) {
        instance_page_out();
        memcpy(arena_at(instance->data_start), instance->saved, instance->data_size);
        set_resident(instance);
    }
}

// ---- loading ----

// WAMR's log complains of NULL.
static void free_if(void *p) {
    if (p != NULL) {
        wasm_runtime_free(p);
    }
}

void instance_destroy(struct instance *instance) {
    if (instance_resident == instance) {
        set_resident(NULL);
    }
    if (instance->env != NULL) {
        wasm_runtime_destroy_exec_env(instance->env);
    }
    if (instance->inst != NULL) {
        wasm_runtime_deinstantiate(instance->inst);
    }
    if (instance->module != NULL) {
        wasm_runtime_unload(instance->module);
    }
    free_if(instance->saved);
    free_if(instance->interpreted);
    wasm_runtime_free(instance);
}

bool instance_fail(const char *what) {
    snprintf(instance_message, sizeof(instance_message), "%s", what);
    return false;
}

static const WASMFuncType *type_of(const struct instance *instance, wasm_function_inst_t function) {
    return instance_is_interpreted(instance) ? interpreted_type(function) : ((AOTFunctionInstance *)function)->u.func.func_type;
}

// An exported function of so many parameters and results, all i32; `type` says the same in text.
static void *find_export(const struct instance *instance, const char *name, uint32_t params, uint32_t results, const char *type) {
    wasm_function_inst_t function = wasm_runtime_lookup_function(instance->inst, name);
    const WASMFuncType *actual = function != NULL ? type_of(instance, function) : NULL;
    bool same = actual != NULL && actual->param_count == params && actual->result_count == results;
    for (uint32_t i = 0; same && i < params + results; i++) {
        same = actual->types[i] == VALUE_TYPE_I32;
    }
    if (!same) {
        snprintf(instance_message, sizeof(instance_message), "no export %s %s", name, type);
    }
    return same ? function : NULL;
}

static bool find_exports(struct instance *instance, const char *name) {
    AOTFunctionInstance *entry = find_export(instance, name, 1, 1, "(i32) -> i32");
    AOTFunctionInstance *init = find_export(instance, "kernel_init", 2, 1, "(i32, i32) -> i32");
    AOTFunctionInstance *cleanup = find_export(instance, "kernel_cleanup", 0, 0, "() -> ()");
    if (entry == NULL || init == NULL || cleanup == NULL || find_export(instance, "kernel_info", 0, 1, "() -> i32") == NULL) {
        return false;
    }
    if (instance_is_interpreted(instance)) {
        interpreted_prepare(instance, entry, init, cleanup);
    } else {
        instance->entry = entry->u.func.func_ptr;
        instance->init = init->u.func.func_ptr;
        instance->cleanup = cleanup->u.func.func_ptr;
    }
    return true;
}

// AOT code reads all of this from the instance at each call.
static void widen_memory(WASMMemoryInstance *memory, uint32_t limit) {
    uint32_t size = limit < KERN_ARENA_SIZE ? limit : KERN_ARENA_SIZE;
    memory->memory_data_end = memory->memory_data + size;
    memory->memory_data_size = size;
    memory->heap_data = memory->heap_data_end = memory->memory_data_end;
    wasm_runtime_set_mem_bound_check_bytes(memory, size);
}

static bool load(struct instance *instance, const struct image_kernel *kernel) {
    const bool bytecode = KERN_INTERPRETER && image_is_bytecode(&instance->pack->image);
    if (KERN_INTERPRETER && get_package_type(kernel->body, kernel->body_size) != (bytecode ? Wasm_Module_Bytecode : Wasm_Module_AoT)) {
        return instance_fail("its code is not of the kind that the image's target says");
    }
    // AOT code runs in place; WAMR writes to it only when it has relocations, which our relocator refuses.
    uint8_t *file = bytecode ? interpreted_copy(instance, kernel) : (uint8_t *)kernel->body;
    if (file == NULL) {
        return instance_fail("allocate memory failed");
    }
    instance->module = wasm_runtime_load(file, kernel->body_size, instance_message, sizeof(instance_message));
    return instance->module != NULL;
}

static bool instantiate(struct instance *instance, const struct image_kernel *kernel) {
    instance_page_out();
    memset(ARENA_BASE, 0, KERN_KERNEL_PAGE);
    instance->inst = wasm_runtime_instantiate(instance->module, 0, 0, instance_message, sizeof(instance_message));
    if (instance->inst == NULL) {
        return false;
    }
    instance->env = wasm_runtime_create_exec_env(instance->inst, EXEC_ENV_STACK);
    instance->data_size = kernel->private_size - instance->data_start;
    instance->saved = wasm_runtime_malloc(instance->data_size + 1);
    if (instance->env == NULL || instance->saved == NULL) {
        return instance_fail("allocate memory failed");
    }
    instance->env->native_stack_boundary = (uint8_t *)KERN_STACK_ADDRESS + STACK_MARGIN;
    AOTModuleInstance *inst = (AOTModuleInstance *)instance->inst; // of bytecode too, as far as this goes
    inst->cur_exec_env = instance->env;
    widen_memory(inst->memories[0], image_memory_limit(kernel));
    set_resident(instance);
    return find_exports(instance, kernel->entry);
}

uint32_t instance_deadline(uint32_t max_ticks) {
    const uint32_t most = KERN_DEADLINE_MS * 1000 / GUARD_TICK_US;
    return (max_ticks < most ? max_ticks : most) * GUARD_TICK_US;
}

struct instance *instance_load(const struct gate_pack *pack, uint32_t index, const struct image_kernel *kernel) {
    static uint32_t tickets;
    struct instance *instance = wasm_runtime_malloc(sizeof(*instance));
    if (instance == NULL) {
        (void)instance_fail("allocate memory failed");
        return NULL;
    }
    *instance = (struct instance) { .pack = pack, .index = index, .ticket = ++tickets };
    if (!load(instance, kernel) || !module_check(instance->module, kernel, &instance->data_start) || !instantiate(instance, kernel)) {
        instance_destroy(instance);
        return NULL;
    }
    instance->deadline_us = instance_deadline(kernel->max_ticks) * (instance_is_interpreted(instance) ? INTERPRETED_PATIENCE : 1);
    return instance;
}

uint32_t instance_function_at(const struct instance *instance, uintptr_t pc) {
    const AOTModule *module = (const AOTModule *)instance->module;
    uint32_t index = INSTANCE_NO_FUNCTION;
    if (!instance_is_interpreted(instance) && pc - (uintptr_t)code_address(module->code) < module->code_size) {
        uintptr_t begin = 0;
        for (uint32_t i = 0; i < module->func_count; i++) {
            uintptr_t start = (uintptr_t)module->func_ptrs[i] & ~(uintptr_t)1;
            if (start <= pc && start >= begin) {
                begin = start;
                index = i;
            }
        }
    }
    return index;
}
