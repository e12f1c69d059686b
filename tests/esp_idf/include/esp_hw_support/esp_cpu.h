// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#include <stdint.h>

typedef uint32_t esp_cpu_cycle_count_t;
esp_cpu_cycle_count_t esp_cpu_get_cycle_count(void);
