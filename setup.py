"""Metadata of hybridrec; tool settings live in pyproject.toml, exact pins in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

REQUIRED = [
    "torch>=2.5",
    "transformers>=5.0",
    "peft>=0.18",
    "torch-geometric>=2.6",
    "faiss-cpu>=1.9",
    "tensorboard>=2.16",
    "safetensors>=0.5",
    "tokenizers>=0.21",
    "gguf>=0.10",
    "numpy>=1.26",
    "pandas>=2.2",
    "pyarrow>=16",
    "pydantic>=2.9",
    "pyyaml>=6.0",
    "tqdm>=4.66",
    "filelock>=3.13",
    # RecBole 1.2.1 pins ray<=2.6.3, which has no build for Python 3.12 and newer: there the scripts
    # install RecBole without its dependencies, and the ones it really imports are listed below.
    "recbole>=1.2.1; python_version < '3.12'",
    "scikit-learn>=1.4",
    "scipy>=1.12",
    "colorlog>=4.7",
    "colorama>=0.4.4",
    "psutil>=5.9",
    "tabulate>=0.8.10",
    "texttable>=0.9",
]

EXTRAS = {
    # Its files are those of faiss-cpu, which is to be uninstalled first (README.md).
    "gpu": ["faiss-gpu-cu12>=1.9; platform_system == 'Linux'"],
    "tune": ["optuna>=4.0"],
    "plot": ["matplotlib>=3.8"],
    "dev": [
        "optuna>=4.0",
        "matplotlib>=3.8",
        "ruff>=0.6",
        "mypy>=1.11",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "types-PyYAML",
        "types-tqdm",
        "pandas-stubs",
    ],
}

setup(
    name="hybridrec",
    version="0.1.0",
    description="An ID recommender and an LLM recommender that train in turns and make each other better",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["hybrid", "hybrid.*", "idmodels", "idmodels.*", "bridges", "bridges.*"]),
    package_data={
        "hybrid.config": ["presets/*.yaml"],
        "hybrid": ["py.typed"],
        "idmodels": ["py.typed"],
        "bridges": ["py.typed"],
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hybridrec=hybrid.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
