"""The arithmetic of `benchmarks.scaling` and `packed`, against bills made out by hand."""

import pytest

from benchmarks.projection import Collection, ImageCost, Machine, Prices, arithmetic, bill

PRICES = Prices(vcpu=0.1, memory=0.01, shuffle=0.02, gets=0.001, puts=0.01)
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


def test_packed_images_are_billed_by_the_archive_and_the_piece():
    # 2,000 images of 1 MiB lie in 4 spans of 500, of which each has 50 rows for 10 shards.
    images = Collection(20_000, 2**20, 1000, images_per_archive=2000, images_per_shard=2000)
    assert images.spans == 4
    assert images.packed().inputs == pytest.approx(5 / 2000)
    assert images.packed().writes == pytest.approx(1 / 500)
    assert images.packed().reads == pytest.approx(10 / 500)
    loose, packed = bill([images], (0.5, 0.25), PRICES)
    assert loose["usd_reading"] == 1
    # A file of 256 rows is written for 0.01, described and read for 0.002 a thousand.
    assert loose["usd_pieces"] == pytest.approx(1e6 / 256 * 0.012 / 1000, abs=1e-4)
    assert packed["usd_pieces"] == pytest.approx(2 * 0.01 + 20 * 0.001)
    assert packed["usd_reading"] == 0.0025
    assert packed["usd_per_million"] == pytest.approx(0.25 + 0.0025 + 0.04)


def test_rows_for_few_shards_have_files_of_their_own():
    many = Collection(10**6, 1000, 1000, images_per_archive=10**5, images_per_shard=2 * 10**5)
    assert many.spans == 7
    assert many.packed().writes == pytest.approx(1 / 128)
    few = Collection(10**6, 2**20, 1000, images_per_archive=2000, images_per_shard=2 * 10**5)
    assert few.packed().writes == pytest.approx(1 / 100)
    # Small images fill what may wait: 16 MiB of rows.
    small = Collection(10**6, 1000, 16 * 2**10, images_per_archive=10**5)
    assert small.packed().reads == pytest.approx(100 * (1 - 0.99**1024) / 1024)
