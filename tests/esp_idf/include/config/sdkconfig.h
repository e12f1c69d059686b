// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#define CONFIG_IDF_TARGET_ESP32C3 1
#define CONFIG_IDF_TARGET_ARCH_RISCV 1
#define CONFIG_MMU_PAGE_SIZE 0x10000
