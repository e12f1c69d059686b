// The partition that the store is in, see firmware/esp32.
#ifndef KERN_FLASH_ESP32_H
#define KERN_FLASH_ESP32_H

#include <stdbool.h>

// Map it, unless it is mapped already. False when there is none like the one that this firmware was built with, or no room in
// the address space. Before it has returned true kern_flash must not be used.
bool flash_esp32_map(void);

#endif
