// The kernels' memory: at the addresses of board.toml, which AOT code and the engine have as constants.
#define _GNU_SOURCE // MAP_FIXED_NOREPLACE
#include "unix.h"

#include <err.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "guard_unix.h"
#include "kern_board.h"

#define FIRST ((char *)KERN_STACK_ADDRESS - GUARD_PAGE)
#define END ((char *)KERN_POOL_ADDRESS + KERN_POOL_SIZE)

void memory_init(void) {
    if (mmap(FIRST, END - FIRST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != FIRST
        || mprotect(FIRST, GUARD_PAGE, PROT_NONE) != 0) {
        err(EXIT_FAILURE, "memory cannot be mapped at %p", (void *)FIRST);
    }
}
