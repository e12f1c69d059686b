// Modules, instances and the private page.
//
// Every instance has its linear memory at the arena's start, so a tensor's offset is the same for all kernels. What a kernel
// keeps for itself, stack and data, lies in the first page; the data of a kernel that is not resident is saved in the
// runtime's pool, where no other kernel can reach it.
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "aot_runtime.h"
#include "bh_platform.h"
#include "wasm_export.h"
#include "wasm_memory.h"
#include "wasm_runtime_common.h"

#include "arena.h"
#include "descriptor.h"
#include "errors.h"
#include "guard.h"
#include "kern_natives.h" // generated: KERN_NATIVES
#include "version.h"      // WAMR's

#define STACK_MARGIN (512)    // bytes below AOT code's stack check: an exception frame and what runtime helpers need
#define EXEC_ENV_STACK (64)   // bytes of WAMR's own operand stack, which AOT code does not use
#define TICK_US (10000)

struct instance {
    struct instance *next; // most recently used first
    const struct gate_pack *pack;
    uint32_t index; // of the kernel in the pack
    uint32_t max_ticks;
    wasm_module_t module;
    wasm_module_inst_t inst;
    wasm_exec_env_t env;
    void *entry, *init, *cleanup;
    uint32_t data_start, data_size; // part of the private page that must survive
    uint8_t *saved;
};

// Where offsets count from in references compiled from the kernels' sources (kernel_abi.h).
uint8_t *kernel_native_base = ARENA_BASE;

static struct instance *instances;
static struct instance *resident; // its data is in the private page
static char message[112];

const char *engine_message(void) {
    return message;
}

uint32_t engine_aot_version(void) {
    return AOT_CURRENT_VERSION;
}

const char *engine_wamr_version(void) {
    #define TEXT(number) #number
    #define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
    return VERSION(WAMR_VERSION_MAJOR, WAMR_VERSION_MINOR, WAMR_VERSION_PATCH);
    #undef VERSION
    #undef TEXT
}

void engine_init(void) {
    RuntimeInitArgs args = {
        .mem_alloc_type = Alloc_With_Pool,
        .mem_alloc_option.pool = { .heap_buf = (void *)KERN_POOL_ADDRESS, .heap_size = KERN_POOL_SIZE },
    };
    guard_init();
    // Fails only for a pool that is too small for WAMR's own tables, which the build's tests would have shown.
    (void)wasm_runtime_full_init(&args);
}

void engine_pool(uint32_t *size, uint32_t *free) {
    mem_alloc_info_t info = { 0 };
    (void)wasm_runtime_get_mem_alloc_info(&info);
    *size = info.total_size;
    *free = info.total_free_size;
}

// ---- the private page ----

static void page_out(void) {
    if (resident != NULL) {
        memcpy(resident->saved, arena_at(resident->data_start), resident->data_size);
        resident = NULL;
    }
}

static void page_in(struct instance *instance) {
    if (resident != instance) {
        page_out();
        memcpy(arena_at(instance->data_start), instance->saved, instance->data_size);
        resident = instance;
    }
}

// ---- entering a kernel ----

// Call a function of three words, or of fewer. Nothing is set that guard_run sets: a memset costs more than the rest.
static int run(void *entry, uint32_t a, uint32_t b, uint32_t c, uint32_t max_ticks, struct engine_result *result) {
    const uint32_t most = KERN_DEADLINE_MS * 1000 / TICK_US;
    struct guard_call call;
    call.entry = entry;
    call.arg[0] = a;
    call.arg[1] = b;
    call.arg[2] = c;
    call.result = 0;
    int code = guard_run(&call, (max_ticks < most ? max_ticks : most) * TICK_US);
    *result = (struct engine_result) { .cycles = call.cycles, .pc = call.pc, .returned = (int32_t)call.result };
    return code == KERN_OK && call.result != 0 ? KERN_KERNEL_TRAP : code;
}

// ---- instances ----

static void destroy(struct instance *instance) {
    if (resident == instance) {
        resident = NULL;
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

static void unload(struct instance *instance) {
    struct instance **link = &instances;
    while (*link != instance) {
        link = &(*link)->next;
    }
    *link = instance->next;
    destroy(instance);
}

// Unload an instance in which nothing went wrong: the kernel may tidy up first. How that ends makes no difference.
static void retire(struct instance *instance) {
    struct engine_result ignored;
    page_in(instance);
    (void)run(instance->cleanup, (uint32_t)instance->env, 0, 0, instance->max_ticks, &ignored);
    unload(instance);
}

void engine_unload(const struct gate_pack *pack) {
    for (struct instance *instance = instances, *next; instance != NULL; instance = next) {
        next = instance->next;
        if (pack == NULL || instance->pack == pack) {
            retire(instance);
        }
    }
}

static bool unload_least_used(void) {
    struct instance *last = instances;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    if (last != NULL) {
        retire(last);
    }
    return last != NULL;
}

static bool fail(const char *what) {
    snprintf(message, sizeof(message), "%s", what);
    return false;
}

static bool check_tables(const AOTModule *module, uint32_t most) {
    uint64_t elements = 0;
    for (uint32_t i = 0; i < module->table_count; i++) {
        elements += module->tables[i].table_type.init_size;
    }
    if (elements > most) {
        snprintf(message, sizeof(message), "tables have %lu elements, the limit is %lu", (unsigned long)elements, (unsigned long)most);
    }
    return elements <= most;
}

// What instantiating relies on, so that nothing of the module runs outside the guard or lands outside the private page.
static bool check_module(const AOTModule *module, const struct image_kernel *kernel) {
    if (module->import_func_count != 0 || module->import_global_count != 0 || module->import_table_count != 0) {
        return fail("module has imports");
    }
    if (module->start_function != NULL) {
        return fail("module has a start function");
    }
    if (module->memory_count != 1 || module->memories[0].init_page_count != 1) {
        return fail("module needs exactly one page of memory");
    }
    if (module->aux_heap_base_global_index == (uint32)-1 || module->aux_heap_base != kernel->private_size) {
        return fail("__heap_base differs from the pack's table");
    }
    for (uint32_t i = 0; i < module->mem_init_data_count; i++) {
        const AOTMemInitData *data = module->mem_init_data_list[i];
        if (!data->is_passive && (data->offset.init_expr_type != INIT_EXPR_TYPE_I32_CONST
                                  || (uint32_t)data->offset.u.unary.v.i32 > kernel->private_size
                                  || data->byte_count > kernel->private_size - (uint32_t)data->offset.u.unary.v.i32)) {
            return fail("data segment outside the private page");
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
        snprintf(message, sizeof(message), "no export %s %s", name, type);
    }
    return same ? function->u.func.func_ptr : NULL;
}

static bool find_exports(struct instance *instance, const char *entry) {
    static const char *const run_by_wamr[] = { "__post_instantiate", "__wasm_call_ctors" };
    for (uint32_t i = 0; i < 2; i++) {
        if (wasm_runtime_lookup_function(instance->inst, run_by_wamr[i]) != NULL) {
            return fail("module exports a constructor");
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
    page_out();
    memset(ARENA_BASE, 0, KERN_KERNEL_PAGE);
    instance->inst = wasm_runtime_instantiate(instance->module, 0, 0, message, sizeof(message));
    if (instance->inst == NULL) {
        return false;
    }
    instance->env = wasm_runtime_create_exec_env(instance->inst, EXEC_ENV_STACK);
    find_data(instance, module, kernel->private_size);
    instance->saved = wasm_runtime_malloc(instance->data_size + 1);
    if (instance->env == NULL || instance->saved == NULL) {
        return fail("allocate memory failed");
    }
    instance->env->native_stack_boundary = (uint8_t *)KERN_STACK_ADDRESS + STACK_MARGIN;
    AOTModuleInstance *inst = (AOTModuleInstance *)instance->inst;
    inst->cur_exec_env = instance->env;
    widen_memory(inst->memories[0], image_memory_limit(kernel));
    resident = instance;
    return find_exports(instance, kernel->entry);
}

// Give the kernel its parameters' defaults; it says whether it is ready.
static bool init(struct instance *instance, const struct image_kernel *kernel) {
    struct engine_result result;
    uint32_t size = descriptor_write_defaults(kernel);
    int code = run(instance->init, (uint32_t)instance->env, size != 0 ? DESCRIPTOR_DEFAULTS : 0, size, kernel->max_ticks, &result);
    if (code == KERN_KERNEL_TRAP) {
        snprintf(message, sizeof(message), "kernel_init returned %ld", (long)result.returned);
    } else if (code != KERN_OK) {
        snprintf(message, sizeof(message), "kernel_init: %s", kern_error_phrase(code));
    }
    return code == KERN_OK;
}

static struct instance *load_once(const struct gate_pack *pack, uint32_t index) {
    struct image_kernel kernel = image_kernel(&pack->image, index);
    struct instance *instance = wasm_runtime_malloc(sizeof(*instance));
    if (instance == NULL) {
        (void)fail("allocate memory failed");
        return NULL;
    }
    *instance = (struct instance) { .pack = pack, .index = index, .max_ticks = kernel.max_ticks };
    // The body runs in place; WAMR writes to it only when it has relocations, which our relocator refuses.
    instance->module = wasm_runtime_load((uint8_t *)kernel.body, kernel.body_size, message, sizeof(message));
    if (instance->module == NULL || !check_module((AOTModule *)instance->module, &kernel) || !instantiate(instance, &kernel)
        || !init(instance, &kernel)) {
        destroy(instance);
        return NULL;
    }
    instance->next = instances;
    instances = instance;
    return instance;
}

// Seldom called: kept apart from a call, which is to be quick.
static __attribute__((noinline)) struct instance *load(const struct gate_pack *pack, uint32_t index) {
    struct instance *instance;
    do {
        message[0] = 0;
        instance = load_once(pack, index);
    } while (instance == NULL && strstr(message, "allocate") != NULL && unload_least_used());
    return instance;
}

static struct instance *find(const struct gate_pack *pack, uint32_t index) {
    for (struct instance **link = &instances; *link != NULL; link = &(*link)->next) {
        struct instance *instance = *link;
        if (instance->index == index && instance->pack == pack) {
            *link = instance->next;
            instance->next = instances;
            instances = instance;
            return instance;
        }
    }
    return load(pack, index);
}

// ---- calls ----

int engine_call(const struct gate_pack *pack, uint32_t index, uint32_t descriptor, struct engine_result *result) {
    bool known = pack->verified && index < pack->image.kernel_count;
    struct instance *instance = known ? find(pack, index) : NULL;
    if (instance == NULL) {
        *result = (struct engine_result) { 0 };
        return known ? KERN_LOAD_ERROR : KERN_NO_SUCH_KERNEL;
    }
    page_in(instance);
    int code = run(instance->entry, (uint32_t)instance->env, descriptor, 0, instance->max_ticks, result);
    if (code != KERN_OK) {
        unload(instance);
    }
    return code;
}

const struct engine_native *engine_find_native(const char *id) {
    static const struct engine_native natives[] = {
        KERN_NATIVES
        { NULL, NULL },
    };
    const struct engine_native *native = natives;
    while (native->id != NULL && strcmp(native->id, id) != 0) {
        native++;
    }
    return native->id != NULL ? native : NULL;
}

int engine_call_native(const struct engine_native *native, uint32_t max_ticks, uint32_t descriptor, struct engine_result *result) {
    page_out();
    return run(native->entry, descriptor, 0, 0, max_ticks, result);
}
