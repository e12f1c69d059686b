// The port's own board, with the filesystem behind the kernels' flash.
#include KERN_MICROPYTHON_BOARD
#include "kern_board.h"

#undef MICROPY_HW_FLASH_STORAGE_BYTES
#define MICROPY_HW_FLASH_STORAGE_BYTES (KERN_FILESYSTEM_SIZE)

// The heap has the kernels' memory too until kern is imported.
#define MICROPY_GC_SPLIT_HEAP (1)
void kern_memory_lend(void);
#define MICROPY_PORT_INIT_FUNC kern_memory_lend()

void kern_soft_reset(void);
#define MICROPY_BOARD_END_SOFT_RESET() kern_soft_reset()

// Opening the port at 1200 baud restarts into the boot ROM: how `host flash` reboots a board whose REPL does not answer.
#define MICROPY_HW_USB_CDC_1200BPS_TOUCH (1)
