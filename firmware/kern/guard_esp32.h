// What the guard of the ESP32 family has beside guard.h.
#ifndef KERN_GUARD_ESP32_H
#define KERN_GUARD_ESP32_H

// Delete the kernels' task, if there is one: the kernel stack is free. The next call makes a new one.
void guard_esp32_stop(void);

#endif
