// A board that is a Linux process: firmware.elf FLASH, where FLASH is the file that is its flash. Its serial port is standard input
// and output; power goes when input ends.
#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "py/cstack.h"
#include "py/gc.h"
#include "py/runtime.h"

#include "flash_unix.h"
#include "port.h"
#include "unix.h"

#define STACK (256 * 1024) // bytes of the process's own that MicroPython uses
#define HEAP (384 * 1024)  // bytes; words are twice as long as a small board's

static char **arguments;

int main(int argc, char **argv) {
    static char heap[HEAP];
    if (argc != 2) {
        errx(EXIT_FAILURE, "usage: %s FLASH", argv[0]);
    }
    arguments = argv;
    flash_unix_open(argv[1]);
    memory_init();
    terminal_init();
    interrupts_init();
    mp_cstack_init_with_sp_here(STACK);
    gc_init(heap, heap + sizeof(heap));
    port_loop();
}

// Signals stay blocked until the new program has its handlers.
void port_reset(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    terminal_restore();
    execv("/proc/self/exe", arguments);
    err(EXIT_FAILURE, "reset");
}
