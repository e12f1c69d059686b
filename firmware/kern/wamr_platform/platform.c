// What WAMR asks of an operating system. All its memory comes from the pool; the only mapping is linear memory, and
// that is always the arena.
#include "bh_platform.h"
#include "wasm_export.h"

#include "arena.h"

int bh_platform_init(void) {
    return 0;
}

void bh_platform_destroy(void) {
}

void *os_malloc(unsigned size) {
    (void)size;
    return NULL;
}

void *os_realloc(void *p, unsigned size) {
    (void)p, (void)size;
    return NULL;
}

void os_free(void *p) {
    (void)p;
}

#if !KERN_INTERPRETER // debug_log.c has them
int os_printf(const char *format, ...) {
    (void)format;
    return 0;
}

int os_vprintf(const char *format, va_list args) {
    (void)format, (void)args;
    return 0;
}
#endif

uint64 os_time_get_boot_us(void) {
    return 0;
}

uint64 os_time_thread_cputime_us(void) {
    return 0;
}

korp_tid os_self_thread(void) {
    return 1;
}

// The engine sets each exec_env's own boundary, on the kernel stack.
uint8 *os_thread_get_stack_boundary(void) {
    return (uint8 *)KERN_STACK_ADDRESS;
}

void os_thread_jit_write_protect_np(bool enabled) {
    (void)enabled;
}

int os_mutex_init(korp_mutex *mutex) {
    (void)mutex;
    return 0;
}

int os_mutex_destroy(korp_mutex *mutex) {
    (void)mutex;
    return 0;
}

int os_mutex_lock(korp_mutex *mutex) {
    (void)mutex;
    return 0;
}

int os_mutex_unlock(korp_mutex *mutex) {
    (void)mutex;
    return 0;
}

// Tensors live in the arena, so it is not zeroed; the engine zeroes the private page.
void *os_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file) {
    (void)hint, (void)prot, (void)flags, (void)file;
    return size <= KERN_ARENA_SIZE ? ARENA_BASE : NULL;
}

void os_munmap(void *address, size_t size) {
    (void)address, (void)size;
}

void *os_mremap(void *address, size_t old_size, size_t new_size) {
    (void)address, (void)old_size, (void)new_size;
    return NULL;
}

int os_mprotect(void *address, size_t size, int prot) {
    (void)address, (void)size, (void)prot;
    return 0;
}

void os_dcache_flush(void) {
}

void os_icache_flush(void *start, size_t size) {
    (void)start, (void)size;
}

int os_dumps_proc_mem_info(char *out, unsigned size) {
    (void)out, (void)size;
    return -1;
}
