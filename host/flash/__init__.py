"""Put firmware on boards, and check that they then run it.

``uf2`` is for boards whose boot ROM shows a drive, ``esp`` for those that esptool talks to, ``program`` for those that
a program of this computer runs; `Job` is one board to flash, whichever way, and ``flash_all`` does several at once.
docs/flashing.md tells what happens when.
"""

from host.flash.esp import Settings
from host.flash.firmware import Firmware, read_firmware
from host.flash.jobs import Flashed, Job, find_jobs, flash_all

__all__ = ["Firmware", "Flashed", "Job", "Settings", "find_jobs", "flash_all", "read_firmware"]
