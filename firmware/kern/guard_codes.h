// What guard_run returns beside the codes of kern_errors.h. Read by the assembler too.
#ifndef KERN_GUARD_CODES_H
#define KERN_GUARD_CODES_H

#define GUARD_NOT_READY (0x7fffffff)
#define GUARD_BUSY (0x7ffffffe)
#define GUARD_RETURNED (-14) // KERN_KERNEL_TRAP, for the assembler

#endif
