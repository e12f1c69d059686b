// What the AOT loader and its instances ask of the rest of WAMR, for modules that import nothing, run nothing when they are
// instantiated, and do not grow their memory. Takes the place of WAMR's wasm_runtime_common.c, wasm_native.c, wasm_memory.c
// and bh_hashmap.c: registries of natives, calls from C into any signature, application heaps.
#include "aot_runtime.h"
#include "bh_platform.h"
#include "mem_alloc.h"
#include "wasm_memory.h"
#include "wasm_native.h"
#include "wasm_runtime_common.h"

#include "arena.h"

// ---- modules and instances ----

wasm_module_t wasm_runtime_load(uint8 *buffer, uint32 size, char *error, uint32 error_size) {
    LoadArgs args = { .name = "" };
    return (wasm_module_t)aot_load_from_aot_file(buffer, size, &args, error, error_size);
}

void wasm_runtime_unload(wasm_module_t module) {
    aot_unload((AOTModule *)module);
}

wasm_module_inst_t wasm_runtime_instantiate(wasm_module_t module, uint32 stack_size, uint32 heap_size, char *error, uint32 error_size) {
    struct InstantiationArgs2 args = { .v1 = { .default_stack_size = stack_size, .host_managed_heap_size = heap_size } };
    return (wasm_module_inst_t)aot_instantiate((AOTModule *)module, NULL, NULL, &args, error, error_size);
}

void wasm_runtime_deinstantiate(wasm_module_inst_t inst) {
    aot_deinstantiate((AOTModuleInstance *)inst, false);
}

wasm_function_inst_t wasm_runtime_lookup_function(const wasm_module_inst_t inst, const char *name) {
    return aot_lookup_function((const AOTModuleInstance *)inst, name);
}

wasm_exec_env_t wasm_runtime_create_exec_env(wasm_module_inst_t inst, uint32 stack_size) {
    return wasm_exec_env_create(inst, stack_size);
}

void wasm_runtime_destroy_exec_env(wasm_exec_env_t env) {
    wasm_exec_env_destroy(env);
}

void wasm_runtime_set_custom_data_internal(wasm_module_inst_t inst, void *data) {
    ((WASMModuleInstance *)inst)->custom_data = data;
}

void wasm_runtime_read_v128(const uint8 *bytes, uint64 *low, uint64 *high) {
    memcpy(low, bytes, sizeof(*low));
    memcpy(high, bytes + sizeof(*low), sizeof(*high));
}

// ---- exceptions: traps take a way of their own, see symbols.c ----

void wasm_set_exception(WASMModuleInstance *inst, const char *exception) {
    snprintf(inst->cur_exception, sizeof(inst->cur_exception), "%s", exception);
}

void wasm_set_exception_with_id(WASMModuleInstance *inst, uint32 id) {
    (void)id;
    wasm_set_exception(inst, "trap");
}

// ---- linear memory: always the arena, with no heap of WAMR's in it ----

int wasm_allocate_linear_memory(uint8 **data, bool is_shared, bool is_memory64, uint64 page_size, uint64 pages, uint64 max_pages, uint64 *size) {
    (void)is_shared, (void)is_memory64, (void)max_pages;
    *data = ARENA_BASE;
    *size = page_size * pages;
    return *size <= KERN_ARENA_SIZE ? BHT_OK : BHT_ERROR;
}

void wasm_deallocate_linear_memory(WASMMemoryInstance *memory) {
    memory->memory_data = NULL;
}

uint32 mem_allocator_get_heap_struct_size(void) {
    return 0;
}

mem_allocator_t mem_allocator_create_with_struct_and_pool(void *heap, uint32_t heap_size, void *pool, uint32_t pool_size) {
    (void)heap, (void)heap_size, (void)pool, (void)pool_size;
    return NULL;
}

int mem_allocator_destroy(mem_allocator_t heap) {
    (void)heap;
    return 0;
}

uint32 wasm_runtime_get_max_mem(uint32 wanted, uint32 init_pages, uint32 max_pages) {
    (void)wanted, (void)init_pages;
    return max_pages;
}

// AOT code compares in words of the processor.
#if UINTPTR_MAX == UINT64_MAX
#define MEM_BOUND(bound) (bound).u64
#else
#define MEM_BOUND(bound) (bound).u32[0]
#endif

void wasm_runtime_set_mem_bound_check_bytes(WASMMemoryInstance *memory, uint64 size) {
    MEM_BOUND(memory->mem_bound_check_1byte) = (uintptr_t)size - 1;
    MEM_BOUND(memory->mem_bound_check_2bytes) = (uintptr_t)size - 2;
    MEM_BOUND(memory->mem_bound_check_4bytes) = (uintptr_t)size - 4;
    MEM_BOUND(memory->mem_bound_check_8bytes) = (uintptr_t)size - 8;
    MEM_BOUND(memory->mem_bound_check_16bytes) = (uintptr_t)size - 16;
}

bool wasm_runtime_validate_app_addr(wasm_module_inst_t inst, uint64 offset, uint64 size) {
    const WASMMemoryInstance *memory = ((WASMModuleInstance *)inst)->memories[0];
    return offset <= memory->memory_data_size && size <= memory->memory_data_size - offset;
}

void *wasm_runtime_addr_app_to_native(wasm_module_inst_t inst, uint64 offset) {
    return ((WASMModuleInstance *)inst)->memories[0]->memory_data + (uint32)offset;
}

// ---- imports: there are none ----

void *wasm_native_resolve_symbol(const char *module, const char *name, const WASMFuncType *type, const char **signature,
    void **attachment, bool *call_conv_raw) {
    (void)module, (void)name, (void)type, (void)signature, (void)attachment, (void)call_conv_raw;
    return NULL;
}

// ---- exports ----

void small_sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *)) {
    uint8 *end = (uint8 *)items + count * size;
    for (uint8 *start = items; start < end; start += size) {
        for (uint8 *item = start; item > (uint8 *)items && compare(item - size, item) > 0; item -= size) {
            for (size_t i = 0; i < size; i++) {
                uint8 byte = item[i];
                item[i] = (item - size)[i];
                (item - size)[i] = byte;
            }
        }
    }
}

void *small_search(const void *key, const void *items, size_t count, size_t size, int (*compare)(const void *, const void *)) {
    for (size_t i = 0; i < count; i++) {
        void *item = (uint8 *)items + i * size;
        if (compare(key, item) == 0) {
            return item;
        }
    }
    return NULL;
}

// ---- a module's names: a dozen strings, so a list does ----

struct HashMap {
    HashMap *next; // the map itself is the list's head
    void *key;
    KeyEqualFunc equal;
};

HashMap *bh_hash_map_create(uint32 size, bool use_lock, HashFunc hash, KeyEqualFunc equal, KeyDestroyFunc destroy_key, ValueDestroyFunc destroy_value) {
    (void)size, (void)use_lock, (void)hash, (void)destroy_key, (void)destroy_value;
    HashMap *map = wasm_runtime_malloc(sizeof(*map));
    if (map != NULL) {
        *map = (HashMap) { .equal = equal };
    }
    return map;
}

void *bh_hash_map_find(HashMap *map, void *key) {
    HashMap *entry = map->next;
    while (entry != NULL && !map->equal(entry->key, key)) {
        entry = entry->next;
    }
    return entry != NULL ? entry->key : NULL;
}

// WAMR's maps of strings have the string as key and value.
bool bh_hash_map_insert(HashMap *map, void *key, void *value) {
    HashMap *entry = wasm_runtime_malloc(sizeof(*entry));
    if (entry != NULL) {
        *entry = (HashMap) { .next = map->next, .key = key };
        map->next = entry;
    }
    (void)value;
    return entry != NULL;
}

bool bh_hash_map_destroy(HashMap *map) {
    for (HashMap *entry = map, *next; entry != NULL; entry = next) {
        next = entry->next;
        wasm_runtime_free(entry->key);
        wasm_runtime_free(entry);
    }
    return true;
}
