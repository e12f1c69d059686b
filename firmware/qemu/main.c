// A board that is a machine of QEMU's: its serial port is the machine's first, its flash a file of the computer's.
#include <stdlib.h>

#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"

#include "board.h"
#include "flash_semihosted.h"
#include "icount.h"
#include "port.h"
#include "semihosting.h"

extern uint8_t __heap_start, __heap_end, __stack_start, __stack_end; // linker script

int main(void) {
    board_init();
    flash_semihosted_init();
    mp_cstack_init_with_top(&__stack_start, &__stack_start - &__stack_end);
    gc_init(&__heap_start, &__heap_end);
    port_loop();
}

void port_reset(void) {
    flash_semihosted_close();
    board_reset();
}

uint32_t port_frequency(void) {
    return 1000000 * ICOUNT_MHZ;
}

// QEMU ends, and tells why on its standard error.
void abort(void) {
    semihosting(SEMIHOSTING_WRITE0, "abort\n");
    semihosting_exit();
}
