// What a machine does for the port: a serial port, time, reset.
#ifndef QEMU_BOARD_H
#define QEMU_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void board_init(void);

void board_send(const char *data, size_t size);

// A byte that was received, if there is one.
bool board_receive(uint8_t *byte);

// Whether received bytes interrupt, which calls stdin_interrupt; also for one that is there already. Bytes that nobody takes wait in
// QEMU, which holds back the others.
void board_listen(bool on);
void stdin_interrupt(void);

// Until an interrupt, or for that long, or less. Called with interrupts disabled, which then wait.
void board_wait(uint32_t us);

// Call soft_timer_handler in that many microseconds, 1 at least, in an interrupt handler.
void board_schedule(uint32_t us);

_Noreturn void board_reset(void);

#endif
