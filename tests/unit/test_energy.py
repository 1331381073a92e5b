"""The energy of an evaluation: RAPL zones in a made-up folder, counters that start again, machines without counters."""

import ctypes

import pytest

from vt_ray.evaluation import energy
from vt_ray.evaluation.energy import EnergyMeter, cpu_readings, gpu_readings, machine_readings, no_energy


def zone(folder, name, label, microjoules, largest=1_000_000_000):
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{label}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{largest}\n")


def test_packages_and_their_memory_count_once(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    assert cpu_readings(tmp_path) == {"intel-rapl:0": (5.0, 1000.0), "intel-rapl:0:1": (2.0, 1000.0)}


@pytest.mark.parametrize("text", ["", "nonsense"])
def test_counters_that_cannot_be_read_are_no_figure(tmp_path, text):
    assert cpu_readings(tmp_path / "absent") is None and cpu_readings(tmp_path) is None
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text(text)
    assert cpu_readings(tmp_path) is None


def test_the_meter_measures_from_call_to_call_over_the_end_of_a_counter():
    readings = iter([{"a": (990.0, 1000.0)}, {"a": (998.0, 1000.0)}, {"a": (5.0, 1000.0)}, None, {"a": (9.0, 1000.0)}])
    meter = EnergyMeter(lambda: next(readings))
    assert [meter.joules() for _ in range(4)] == [8.0, 7.0, None, None]
    assert EnergyMeter(no_energy).joules() is None


class Nvml:
    """`libnvidia-ml` with two GPUs; the second one has no counter if `old`."""

    def __init__(self, old):
        self.old = old

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules):
        millijoules._obj.value = 1000 * handle.value
        return 3 if self.old and handle.value == 2 else 0


def test_gpus_count_beside_the_cpus_and_a_part_is_no_figure(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Nvml(old=False))
    monkeypatch.setattr(energy, "cpu_readings", lambda: {"intel-rapl:0": (5.0, 1000.0)})
    gpus = {"gpu 0": (1.0, float("inf")), "gpu 1": (2.0, float("inf"))}
    assert gpu_readings() == gpus and machine_readings() == {"intel-rapl:0": (5.0, 1000.0), **gpus}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Nvml(old=True))
    assert gpu_readings() is None and machine_readings() is None


def test_a_machine_without_a_gpu_has_the_energy_of_its_cpus(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert gpu_readings() == {}
