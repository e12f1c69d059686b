// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

typedef struct tskTaskControlBlock *TaskHandle_t;
typedef void (*TaskFunction_t)(void *);

TaskHandle_t xTaskCreateStaticPinnedToCore(TaskFunction_t code, const char *name, uint32_t stack_bytes, void *argument,
    UBaseType_t priority, StackType_t *stack, StaticTask_t *memory, BaseType_t core);
void vTaskDelete(TaskHandle_t task);
UBaseType_t uxTaskPriorityGet(const TaskHandle_t task);
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t wait);
BaseType_t xTaskNotifyGive(TaskHandle_t task);
