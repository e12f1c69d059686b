// Loading, checking and instantiating modules, and the private page.
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
#include "guard.h"

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
    wasm_runtime_free(instance->saved);
    wasm_runtime_free(instance);
}

bool instance_fail(const char *what) {
    snprintf(instance_message, sizeof(instance_message), "%s", what);
    return false;
}

static bool check_tables(const AOTModule *module, uint32_t most) {
    uint64_t elements = 0;
    for (uint32_t i = 0; i < module->table_count; i++) {
        elements += module->tables[i].table_type.init_size;
    }
    if (elements > most) {
        snprintf(instance_message, sizeof(instance_message), "tables have %lu elements, the limit is %lu", (unsigned long)elements, (unsigned long)most);
    }
    return elements <= most;
}

// What instantiating relies on, so that nothing of the module runs outside the guard or lands outside the private page.
static bool check_module(const AOTModule *module, const struct image_kernel *kernel) {
    if (module->import_func_count != 0 || module->import_global_count != 0 || module->import_table_count != 0) {
        return instance_fail("module has imports");
    }
    if (module->start_function != NULL) {
        return instance_fail("module has a start function");
    }
    if (module->memory_count != 1 || module->memories[0].init_page_count != 1) {
        return instance_fail("module needs exactly one page of memory");
    }
    if (module->aux_heap_base_global_index == (uint32)-1 || module->aux_heap_base != kernel->private_size) {
        return instance_fail("__heap_base differs from the pack's table");
    }
    for (uint32_t i = 0; i < module->mem_init_data_count; i++) {
        const AOTMemInitData *data = module->mem_init_data_list[i];
        if (!data->is_passive && (data->offset.init_expr_type != INIT_EXPR_TYPE_I32_CONST
                                  || (uint32_t)data->offset.u.unary.v.i32 > kernel->private_size
                                  || data->byte_count > kernel->private_size - (uint32_t)data->offset.u.unary.v.i32)) {
            return instance_fail("data segment outside the private page");
        }
    }
    return check_tables(module, kernel->max_table_elements);
}

// An exported function of so many parameters and results, all i32; `type` says the same in text.
static void *find_export(const struct instance *instance, const char *name, uint32_t params, uint32_t results, const char *type) {
    const AOTFunctionInstance *function = wasm_runtime_lookup_function(instance->inst, name);
    const AOTFuncType *actual = function != NULL ? function->u.func.func_type : NULL;
    bool same = actual != NULL && actual->param_count == params && actual->result_count == results;
    for (uint32_t i = 0; same && i < params + results; i++) {
        same = actual->types[i] == VALUE_TYPE_I32;
    }
    if (!same) {
        snprintf(instance_message, sizeof(instance_message), "no export %s %s", name, type);
    }
    return same ? function->u.func.func_ptr : NULL;
}

static bool find_exports(struct instance *instance, const char *entry) {
    static const char *const run_by_wamr[] = { "__post_instantiate", "__wasm_call_ctors" };
    for (uint32_t i = 0; i < 2; i++) {
        if (wasm_runtime_lookup_function(instance->inst, run_by_wamr[i]) != NULL) {
            return instance_fail("module exports a constructor");
        }
    }
    instance->entry = find_export(instance, entry, 1, 1, "(i32) -> i32");
    instance->init = find_export(instance, "kernel_init", 2, 1, "(i32, i32) -> i32");
    instance->cleanup = find_export(instance, "kernel_cleanup", 0, 0, "() -> ()");
    return instance->entry != NULL && instance->init != NULL && instance->cleanup != NULL
           && find_export(instance, "kernel_info", 0, 1, "() -> i32") != NULL;
}

// With the stack at the bottom, as wasm-ld puts it, only what lies above it has to be kept between calls.
static void find_data(struct instance *instance, const AOTModule *module, uint32_t private_size) {
    bool stack_first = module->aux_stack_top_global_index != (uint32)-1 && module->aux_stack_size == module->aux_stack_bottom;
    instance->data_start = stack_first ? (uint32_t)module->aux_stack_bottom : 0;
    instance->data_size = private_size - instance->data_start;
}

// AOT code reads all of this from the instance at each call.
static void widen_memory(WASMMemoryInstance *memory, uint32_t limit) {
    uint32_t size = limit < KERN_ARENA_SIZE ? limit : KERN_ARENA_SIZE;
    memory->memory_data_end = memory->memory_data + size;
    memory->memory_data_size = size;
    memory->heap_data = memory->heap_data_end = memory->memory_data_end;
    wasm_runtime_set_mem_bound_check_bytes(memory, size);
}

static bool instantiate(struct instance *instance, const struct image_kernel *kernel) {
    AOTModule *module = (AOTModule *)instance->module;
    instance_page_out();
    memset(ARENA_BASE, 0, KERN_KERNEL_PAGE);
    instance->inst = wasm_runtime_instantiate(instance->module, 0, 0, instance_message, sizeof(instance_message));
    if (instance->inst == NULL) {
        return false;
    }
    instance->env = wasm_runtime_create_exec_env(instance->inst, EXEC_ENV_STACK);
    find_data(instance, module, kernel->private_size);
    instance->saved = wasm_runtime_malloc(instance->data_size + 1);
    if (instance->env == NULL || instance->saved == NULL) {
        return instance_fail("allocate memory failed");
    }
    instance->env->native_stack_boundary = (uint8_t *)KERN_STACK_ADDRESS + STACK_MARGIN;
    AOTModuleInstance *inst = (AOTModuleInstance *)instance->inst;
    inst->cur_exec_env = instance->env;
    widen_memory(inst->memories[0], image_memory_limit(kernel));
    set_resident(instance);
    return find_exports(instance, kernel->entry);
}

struct instance *instance_load(const struct gate_pack *pack, uint32_t index, const struct image_kernel *kernel) {
    static uint32_t tickets;
    struct instance *instance = wasm_runtime_malloc(sizeof(*instance));
    if (instance == NULL) {
        (void)instance_fail("allocate memory failed");
        return NULL;
    }
    *instance = (struct instance) { .pack = pack, .index = index, .max_ticks = kernel->max_ticks, .ticket = ++tickets };
    // The body runs in place; WAMR writes to it only when it has relocations, which our relocator refuses.
    instance->module = wasm_runtime_load((uint8_t *)kernel->body, kernel->body_size, instance_message, sizeof(instance_message));
    if (instance->module == NULL || !check_module((AOTModule *)instance->module, kernel) || !instantiate(instance, kernel)) {
        instance_destroy(instance);
        return NULL;
    }
    return instance;
}

uint32_t instance_function_at(const struct instance *instance, uint32_t pc) {
    const AOTModule *module = (const AOTModule *)instance->module;
    uint32_t index = INSTANCE_NO_FUNCTION;
    if (pc - (uint32_t)module->code < module->code_size) {
        for (uint32_t i = 0, begin = 0; i < module->func_count; i++) {
            uint32_t start = (uint32_t)module->func_ptrs[i] & ~1u;
            if (start <= pc && start >= begin) {
                begin = start;
                index = i;
            }
        }
    }
    return index;
}
