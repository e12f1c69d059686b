// Included by aot_loader.c behind its own set_error_buf, see host/firmware_files.py.

#include "code_address.h"

// A hundred messages would take 3 KB of flash: one that says the line of WAMR's source does, but where memory ran out, which
// the engine goes by.
static __attribute__((noinline)) void loader_error(char *error, uint32 size, uint32 line) {
    if (line == 0) {
        set_error_buf(error, size, "allocate memory failed");
    } else {
        set_error_buf_v(error, size, "aot_loader.c, line %u", (unsigned)line);
    }
}

// Code runs in place, so there must be nothing to relocate: no symbols, no text of theirs, no groups.
static bool load_relocation_section(const uint8 *section, const uint8 *end, AOTModule *module, bool from_file, char *error, uint32 error_size) {
    static const uint8 none[3 * sizeof(uint32)];
    bool empty = end - section == sizeof(none) && memcmp(section, none, sizeof(none)) == 0;
    (void)module, (void)from_file;
    if (!empty) {
        set_error_buf(error, error_size, "it has relocations: build it with the board's wamrc flags");
    }
    return empty;
}

#define set_error_buf(error, size, text) loader_error(error, size, strncmp(text, "allocate", 8) == 0 ? 0 : __LINE__)
