# Bare `make` says what there is. Each target does all of its own set-up first (tools/setup), which
# brings what is missing and is done at once when nothing is.

.DEFAULT_GOAL := help
.PHONY: help run check test chaos bench

help:
	@echo 'xmpprelay: a microblog that stays up when the service behind it goes down.'
	@echo
	@echo '  make run      try it: a private server, three people, a tour in this terminal'
	@echo '  make test     every check and every test (some minutes)'
	@echo '  make check    the quick part: lint, types, layers, unit tests (under a minute)'
	@echo '  make chaos    the long runs: thousands of kills and simulated failures (two hours)'
	@echo '  make bench    the figures of docs/performance.md, on this machine'
	@echo
	@echo 'Each sets itself up on Debian or Ubuntu; git, make and Python 3.11 are enough.'
	@echo 'make run ARGS=--tour-only plays the tour and ends; ARGS="--data-dir DIR" keeps the data.'

# They read the source and run none of it.
define read_only_checks
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-logo
endef

# Without a terminal nobody could end it or log in: the tour only.
run:
	@tools/setup run
	@if [ -t 0 ] && [ -t 1 ]; then tour=; else tour=--tour-only; fi; \
	exec .venv/bin/xmpprelay quickstart $$tour $(ARGS)

check:
	@tools/setup check
	$(read_only_checks)
	.venv/bin/python -m pytest -q tests/unit

# In three processes, also on two cores: much of it waits, for servers to start and for time to pass.
# ARGS="-n 0 tests/unit" runs a part, in one.
test:
	@tools/setup test
	$(read_only_checks)
	.venv/bin/python -m pytest -n 3 --dist worksteal $(ARGS)

# ONLY=PART, or "PART PART", of: characters journal control server service relay primary floods
# fuzz audience simulation.
# SEEDS=N makes so many worlds or kills of each, FIRST_SEED=N begins elsewhere.
chaos:
	@tools/setup test
	.venv/bin/python -m tests.chaos $(ONLY) \
	$(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST_SEED),--first-seed $(FIRST_SEED))

# Prints tables; what is drawn is in build/bench as JSON too, with the plots.
figures = build/bench
bench:
	@tools/setup test
	@mkdir -p $(figures)
	.venv/bin/python -m tests.bench latency --json $(figures)/latency.json
	.venv/bin/python -m tests.bench pubsub
	.venv/bin/python -m tests.bench web
	.venv/bin/python -m tests.bench routing
	.venv/bin/python -m tests.bench journal --json $(figures)/journal.json
	.venv/bin/python -m tests.bench start
	.venv/bin/python -m tests.bench intake
	.venv/bin/python -m tests.bench floods --json $(figures)/floods.json
	.venv/bin/python -m tests.bench trickle
	.venv/bin/python -m tests.bench limit --json $(figures)/limit.json
	.venv/bin/python -m tests.bench limit --burst 1 --json $(figures)/limit-1.json
	.venv/bin/python -m tests.bench memory --json $(figures)/memory.json
	.venv/bin/python -m tests.bench crowded --json $(figures)/crowded.json
	.venv/bin/python -m tests.bench crowded --server prosody --json $(figures)/crowded-prosody.json
	.venv/bin/python -m tests.bench returns --json $(figures)/returns.json
	.venv/bin/python -m tests.bench multicast
	.venv/bin/python -m tests.bench settings
	.venv/bin/python -m tests.bench fanout --followers 100 --json $(figures)/fanout-100.json
	.venv/bin/python -m tests.bench fanout --json $(figures)/fanout-1000.json
	.venv/bin/python -m tests.bench fanout --followers 5000 --burst 10 --posts 5 \
	--json $(figures)/fanout-5000.json
	.venv/bin/python -m tests.bench plots $(figures)
