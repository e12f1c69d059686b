// What the parts of the unix port know of each other.
#ifndef UNIX_UNIX_H
#define UNIX_UNIX_H

#include <stdbool.h>

// ---- memory.c ----

// Map the kernels' memory at the board's addresses. Ends the process, saying why, when it cannot be had.
void memory_init(void);

// ---- terminal.c ----

// Have input come in as interrupts; make a terminal raw until the process ends.
void terminal_init(void);

// Give the terminal back as it was.
void terminal_restore(void);

// Take in what has arrived; whether anything has. In an interrupt, or with interrupts off.
bool terminal_take(void);

// More input can be taken in.
bool terminal_wants(void);

// ---- mphalport.c ----

// Signals' handlers are at their places from here on.
void interrupts_init(void);

// Do what is due, as an interrupt would.
void interrupts_poll(void);

#endif
