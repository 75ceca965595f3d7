"""The arithmetic of `benchmarks.scaling`, against a bill made out by hand."""

import pytest

from benchmarks.projection import ImageCost, Machine, Prices, arithmetic

PRICES = Prices(vcpu=0.1, memory=0.01, shuffle=0.02, gets=0.001)
COST = ImageCost(cpu=0.002, locked_share=0.25, shuffled=500, gets=1)


def test_processes_side_by_side_use_all_vcpus():
    machine = Machine(vcpus=8, processes=8, memory=16)
    assert machine.rate(COST) == pytest.approx(8 / 0.002)
    assert machine.bound(COST) == "processor"
    # 250 s for a million: 8 vCPUs and 16 GB; and half a GB shuffled.
    assert machine.dollars(COST, PRICES) == pytest.approx(250 / 3600 * (0.8 + 0.16) + 0.01)


def test_one_process_is_bound_by_its_lock():
    machine = Machine(vcpus=8, processes=1, memory=16)
    assert machine.rate(COST) == pytest.approx(4 / 0.002)
    assert machine.bound(COST) == "interpreter's lock"
    unknown = ImageCost(cpu=0.002, locked_share=None, shuffled=500, gets=1)
    assert machine.rate(unknown) == pytest.approx(8 / 0.002)


def test_the_lines_end_with_the_bill():
    machine = Machine(vcpus=8, processes=1, memory=16)
    text = "\n".join(arithmetic(machine, COST, PRICES))
    assert "1 / 0.250 = 4.00" in text
    assert f"= {machine.dollars(COST, PRICES):.4f} USD" in text
