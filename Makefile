# Each target is one line that can be typed by hand, after `make install`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
CORES ?= 2
STUDY ?= demo

.PHONY: help install demo study plan status recover test test-slow test-slurm test-mutants mutants lint bench compare clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 | /p' Makefile | column -t -s '|'

install: .venv/installed  ## create .venv with every pinned package

.venv/installed: requirements.lock pyproject.toml workflow/install.sh
	@sh workflow/install.sh

demo: install  ## the whole study in minutes on two CPU cores
	@STUDY=demo CORES=$(CORES) sh workflow/run_study.sh

study: install  ## run workflow/config/$(STUDY).yaml on this machine
	@STUDY=$(STUDY) CORES=$(CORES) sh workflow/run_study.sh

plan: install  ## what workflow/config/$(STUDY).yaml will cost on devices like this one
	@.venv/bin/vsrbench plan --study workflow/config/$(STUDY).yaml

status: install  ## how the study workflow/config/$(STUDY).yaml stands, while it runs or after
	@.venv/bin/vsrbench status --study $(STUDY)

recover: install  ## end what a killed `snakemake --profile slurm` left running, and unlock
	@.venv/bin/vsrbench recover --study $(STUDY)
	@.venv/bin/snakemake --profile slurm --configfile workflow/config/$(STUDY).yaml --unlock

test: install  ## the tests
	@.venv/bin/pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder -m "not slow and not slurm"

test-mutants: install  ## changes made on purpose, each of which the tests must notice
	@.venv/bin/python tests/mutants/check_sample.py

mutants: install  ## every mutant that mutmut makes, for hours; goes on where it stopped
	@sh tests/mutants/run_all.sh $(MUTANTS)

test-slow: install  ## the long tests
	@.venv/bin/pytest -q -m slow

test-slurm: install  ## the cluster, on one that the tests start
	@.venv/bin/pytest -q -m slurm

lint: install  ## style of Python and workflow files, and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/snakefmt --check Snakefile workflow/rules && .venv/bin/mypy

bench: install  ## speed as ratios against plain formulations
	@.venv/bin/python -m vsrbench.benchmarks.network --out results/bench_network.csv
	@.venv/bin/python -m vsrbench.benchmarks.data --out results/bench_data.csv
	@.venv/bin/python -m vsrbench.benchmarks.metrics --out results/bench_metrics.csv

bench-gpu: install  ## the tests that need a GPU, then its speed, each target with a verdict
	@.venv/bin/python -c 'import torch; torch.cuda.is_available() or exit("bench-gpu: no CUDA device is visible; run it on a machine with a GPU")'
	@.venv/bin/pytest -q -m gpu
	@.venv/bin/python -m vsrbench.benchmarks.gpu --out results/bench_gpu.csv

compare: install  ## what differs between two studies: A=results/x B=results/y
	@.venv/bin/vsrbench compare $(A) $(B)

clean:  ## remove the demo's results (the installation stays)
	@rm -rf results/demo
