// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#include <stdint.h>

#include "sdkconfig.h"

typedef int BaseType_t;
typedef unsigned UBaseType_t;
typedef uint32_t TickType_t;
typedef uint8_t StackType_t;
typedef struct { void *words[90]; } StaticTask_t;
typedef struct { void *words[21]; } StaticSemaphore_t;

#define pdTRUE ((BaseType_t)1)
#define portMAX_DELAY ((TickType_t)0xffffffff)
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms) * 100 / 1000)

BaseType_t xPortInIsrContext(void);
BaseType_t xPortGetCoreID(void);
