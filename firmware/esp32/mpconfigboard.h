// The port's own board with memory for kernels.
#include "kern_port_board.h" // generated: includes the port's

#define MICROPY_PY_BLUETOOTH (0)

// It grows by itself; what it has first, kernels cannot have.
#define MICROPY_GC_INITIAL_HEAP_SIZE (48 * 1024)

void kern_memory_lend(void);
#define MICROPY_PORT_INIT_FUNC kern_memory_lend()
void kern_soft_reset(void);
#define MICROPY_PORT_DEINIT_FUNC kern_soft_reset()
