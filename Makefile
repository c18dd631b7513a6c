# README's two commands are `make lab` and `make test`; each does all the set-up it needs on a fresh Debian machine.
VENV := .venv
BIN := $(VENV)/bin
DIR := .lab
IF ?=
# make soak MINUTES=60 SEED=3
MINUTES ?= 10
# make e2e E2E=by_hand: what CI has no time for; E2E= everything
E2E ?= not by_hand
SEED ?= 1
# make fuzz SECONDS=600 TARGETS="dhcp-server tftp-name"; what was reached is kept in .fuzz for the next time
SECONDS ?= 60
TARGETS ?= dhcp-proxy dhcp-server tftp-request tftp-transfer tftp-name syslog-line
# A mirror that lacks installer packages (udebs) can be filled from this folder; only the lab and its tests use it.
export PXEFORGE_LAB_UDEBS ?= $(abspath $(wildcard ../shared/lab/udebs))

# What the last `make test` did not reach, file by file.
.PHONY: setup check test coverage e2e cloud lab lab-down serve bench soak matrix fuzz wheel clean

setup: .setup-done

.setup-done: setup.cfg setup.py pyproject.toml .ci/system-packages pxeforge/servers/lockstep.c pxeforge/servers/pour.c
	bash .ci/system-packages
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest --numprocesses auto --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --format=total | sed 's/.*/covered: & %/'

coverage: setup
	$(BIN)/coverage report --skip-covered

e2e: setup
	$(BIN)/pytest -o addopts= -p no:cacheprovider -v -rfEs --timeout=4500 --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20 \
	  -m "$(E2E)" tests/e2e

cloud: setup
	$(BIN)/pytest -o addopts= -p no:cacheprovider -v -s --timeout=4500 tests/e2e/test_cloud_control.py tests/e2e/test_cloud_vm.py tests/e2e/test_cloud_two_nodes.py tests/e2e/test_cloud_ha.py \
	  tests/e2e/test_cloud_volumes.py tests/e2e/test_cloud_linux_bridges.py tests/e2e/test_cloud_removal.py tests/e2e/test_cloud_machines.py tests/e2e/test_cloud_kernels.py \
	  tests/e2e/test_host_steps.py tests/e2e/test_engine_faults.py

lab: setup
	$(BIN)/pxeforge lab show --dir $(DIR)

lab-down:
	$(BIN)/pxeforge lab down --dir $(DIR)

serve: setup
	@test -n "$(IF)" || { echo "name the interface of the boot network: make serve IF=eth0"; exit 2; }
	$(BIN)/pxeforge serve --interface $(IF)

bench: setup
	bash .ci/system-packages nginx-light kea-dhcp4-server
	$(BIN)/python -m bench
	$(BIN)/python -m bench.scale

soak: setup
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

matrix: setup
	bash .ci/system-packages kea-dhcp4-server isc-dhcp-server qemu-system-arm qemu-efi-aarch64
	$(BIN)/pxeforge lab matrix --dir $(DIR)

fuzz: setup
	@set -e; for target in $(TARGETS); do $(BIN)/python -m tests.fuzz $$target --seconds $(SECONDS) || { \
	  echo "found: .fuzz/findings; copy it to tests/fuzz/found/$$target and mend the code"; exit 1; }; done

wheel: setup
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf build dist .setup-done .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
