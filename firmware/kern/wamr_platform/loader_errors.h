// Included by aot_loader.c behind its own set_error_buf, see host/firmware_files.py. A hundred messages would take 3 KB of
// flash: one that says the line of WAMR's source does, but where memory ran out, which the engine goes by.
static __attribute__((noinline)) void loader_error(char *error, uint32 size, uint32 line) {
    if (line == 0) {
        set_error_buf(error, size, "allocate memory failed");
    } else {
        set_error_buf_v(error, size, "aot_loader.c, line %u", (unsigned)line);
    }
}

#define set_error_buf(error, size, text) loader_error(error, size, strncmp(text, "allocate", 8) == 0 ? 0 : __LINE__)
