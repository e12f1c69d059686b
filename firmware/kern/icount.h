// What QEMU counts as cycles: instructions, of which each takes 8 ns, whatever the computer (-icount shift=3 in board.toml).
#ifndef KERN_ICOUNT_H
#define KERN_ICOUNT_H

#define ICOUNT_MHZ (125)

#endif
