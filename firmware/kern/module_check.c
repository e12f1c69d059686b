#include "module_check.h"

#include <stdio.h>
#include <string.h>

#include "aot_runtime.h"

#include "instance.h"

// AOT code and bytecode say the same in structures of their own.
struct facts {
    bool has_imports, has_start, has_constructor;
    uint32_t pages;     // of its memory; 0 unless it has exactly one
    uint32_t heap_base; // UINT32_MAX: none
    uint32_t data_end;  // of what its active data segments fill; UINT32_MAX: not known
    uint32_t stack_top; // 0: no stack
    uint32_t stack_size;
    uint64_t table_elements;
};

// WAMR runs these when it instantiates.
static bool has_constructor(const WASMExport *exports, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(exports[i].name, "__post_instantiate") == 0 || strcmp(exports[i].name, "__wasm_call_ctors") == 0) {
            return true;
        }
    }
    return false;
}

static void add_data(struct facts *facts, const InitializerExpression *offset, uint32_t size) {
    uint32_t begin = (uint32_t)offset->u.unary.v.i32;
    bool known = offset->init_expr_type == INIT_EXPR_TYPE_I32_CONST && begin <= UINT32_MAX - size;
    uint32_t end = known ? begin + size : UINT32_MAX;
    facts->data_end = end > facts->data_end ? end : facts->data_end;
}

// Of an AOTModule or a WASMModule, whose members have the same names here.
#define COMMON_FACTS(module) \
    .has_constructor = has_constructor((module)->exports, (module)->export_count), \
    .pages = (module)->memory_count == 1 ? (module)->memories[0].init_page_count : 0, \
    .heap_base = (module)->aux_heap_base_global_index != (uint32)-1 ? (uint32_t)(module)->aux_heap_base : UINT32_MAX, \
    .stack_top = (module)->aux_stack_top_global_index != (uint32)-1 ? (uint32_t)(module)->aux_stack_bottom : 0, \
    .stack_size = (module)->aux_stack_size

static struct facts aot_facts(const AOTModule *module) {
    struct facts facts = {
        COMMON_FACTS(module),
        .has_imports = module->import_func_count != 0 || module->import_global_count != 0 || module->import_table_count != 0,
        .has_start = module->start_function != NULL,
    };
    for (uint32_t i = 0; i < module->mem_init_data_count; i++) {
        const AOTMemInitData *data = module->mem_init_data_list[i];
        if (!data->is_passive) {
            add_data(&facts, &data->offset, data->byte_count);
        }
    }
    for (uint32_t i = 0; i < module->table_count; i++) {
        facts.table_elements += module->tables[i].table_type.init_size;
    }
    return facts;
}

#if KERN_INTERPRETER
static struct facts bytecode_facts(const WASMModule *module) {
    struct facts facts = {
        COMMON_FACTS(module),
        .has_imports = module->import_count != 0,
        .has_start = module->start_function != (uint32)-1,
    };
    for (uint32_t i = 0; i < module->data_seg_count; i++) {
        const WASMDataSeg *data = module->data_segments[i];
        if (!data->is_passive) {
            add_data(&facts, &data->base_offset, data->data_length);
        }
    }
    for (uint32_t i = 0; i < module->table_count; i++) {
        facts.table_elements += module->tables[i].table_type.init_size;
    }
    return facts;
}
#endif

static struct facts facts_of(wasm_module_t module) {
    #if KERN_INTERPRETER
    if (module->module_type == Wasm_Module_Bytecode) {
        return bytecode_facts((const WASMModule *)module);
    }
    #endif
    return aot_facts((const AOTModule *)module);
}

bool module_check(wasm_module_t module, const struct image_kernel *kernel, uint32_t *data_start) {
    struct facts facts = facts_of(module);
    *data_start = facts.stack_top == facts.stack_size ? facts.stack_size : 0;
    if (facts.has_imports) {
        return instance_fail("module has imports");
    }
    if (facts.has_start) {
        return instance_fail("module has a start function");
    }
    if (facts.has_constructor) {
        return instance_fail("module exports a constructor");
    }
    if (facts.pages != 1) {
        return instance_fail("module needs exactly one page of memory");
    }
    if (facts.heap_base != kernel->private_size) {
        return instance_fail("__heap_base differs from the pack's table");
    }
    if (facts.data_end > kernel->private_size) {
        return instance_fail("data segment outside the private page");
    }
    if (facts.stack_top > kernel->private_size || *data_start > kernel->private_size) {
        return instance_fail("stack outside the private page");
    }
    if (facts.table_elements > kernel->max_table_elements) {
        snprintf(instance_message, sizeof(instance_message), "tables have %lu elements, the limit is %lu",
            (unsigned long)facts.table_elements, (unsigned long)kernel->max_table_elements);
        return false;
    }
    return true;
}
