"""The energy that this machine has used: CPUs by RAPL (Linux powercap), NVIDIA GPUs by NVML.

EnergyMeter.joules() --> the energy since the call before, of the whole machine, other work included; None if unreadable

A machine with GPUs whose energy cannot be read has no figure, and neither has one whose CPUs cannot be read: a part
would look like the whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
# A zone with this name counts what the zones of its packages count too.
PLATFORM = "psys"

# Readings of counters in joules: {name of the counter: (reading, the largest reading before it starts again at 0)}.
Readings = dict[str, tuple[float, float]]


def cpu_readings(folder: Path = POWERCAP) -> Readings | None:
    """The counters of all CPU packages and their memory; None if there is none that this user can read."""
    try:
        zones = [zone for zone in sorted(folder.glob("*rapl:*")) if _counts(zone)]
        found = {zone.name: (_joules(zone / "energy_uj"), _joules(zone / "max_energy_range_uj")) for zone in zones}
    except (OSError, ValueError):
        return None
    return found or None


def _counts(zone: Path) -> bool:
    """Whether the zone is a package, or memory outside of it. The parts of a package are in its own counter."""
    name = (zone / "name").read_text().strip()
    return name == "dram" if zone.name.count(":") > 1 else name != PLATFORM


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def gpu_readings() -> Readings | None:
    """The counters of all NVIDIA GPUs, which NVML starts with the driver; {} without a GPU, None if one has none."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return {}
    count, handle, millijoules = ctypes.c_uint(), ctypes.c_void_p(), ctypes.c_ulonglong()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return {}
    found: Readings = {}
    for index in range(count.value):
        failed = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        if failed or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            return None
        found[f"gpu {index}"] = (millijoules.value / 1e3, float("inf"))
    return found


def machine_readings() -> Readings | None:
    """All counters of this machine; None if a part of them cannot be read."""
    cpus, gpus = cpu_readings(), gpu_readings()
    return None if cpus is None or gpus is None else cpus | gpus


class EnergyMeter:
    """Differences of `read`, from the construction on."""

    def __init__(self, read: Callable[[], Readings | None] = machine_readings):
        self._read = read
        self._last = read()

    def joules(self) -> float | None:
        """The energy since the call before in joules; None if it is not known."""
        before, self._last = self._last, self._read()
        if not before or not self._last or before.keys() != self._last.keys():
            return None
        return sum(_since(before[name], now) for name, now in self._last.items())


def no_energy() -> Readings | None:
    """The readings of a run whose actors may be on other machines."""
    return None


def _since(before: tuple[float, float], now: tuple[float, float]) -> float:
    (start, largest), (end, _) = before, now
    return end - start if end >= start else end - start + largest
