// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#define IRAM_ATTR __attribute__((section(".iram1.0")))
