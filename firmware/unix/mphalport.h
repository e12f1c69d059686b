#include "py/mpconfig.h"

#include "shared/runtime/interrupt_char.h"
