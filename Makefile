# Onoma: `make` alone prints what there is.

PYTHON ?= python3
PY := .venv/bin/python
STUBS := onoma/v1/.generated
PAGE := onoma/web/index.html
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
DEMO_FOLDER ?= onoma-demo
LOCAL_FOLDER ?= onoma-local
WEB_SOURCES := $(shell find web -name node_modules -prune -o -type f -print)

.DEFAULT_GOAL := help
ifeq ($(MAKELEVEL)$(word 2,$(MAKECMDGOALS)),0) # for one goal the page is built while the environment is installed
MAKEFLAGS += --jobs=2
endif
.PHONY: help env protos web data demo up up-local images test test-slow test-deploy wheel docs bench bench-gpu bench-parts bench-analysis bench-naming bench-page screenshots soak fuzz soak-kills soak-load lint format requirements clean

help: ## print this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

env: $(STUBS) ## build the environment in .venv

protos: ## generate the gRPC stubs from protos/
	@rm -f $(STUBS)
	@$(MAKE) --no-print-directory $(STUBS)

web: $(PAGE) ## build the page into onoma/web

demo: env web data ## do the main job on real photographs, then serve the page (QUICK=1 ends; DATA=DIR for your photographs; SIMULATED=3 annotators)
	.venv/bin/onoma demo --folder "$(DEMO_FOLDER)" $(if $(QUICK),--quick) $(if $(DATA),--data "$(DATA)") $(if $(SIMULATED),--simulated-annotators $(SIMULATED))

up: env web ## run all services and the page on this machine
	.venv/bin/onoma up

up-local: env web ## run them on PostgreSQL and MinIO, started here without containers; kept in LOCAL_FOLDER (onoma-local)
	$(PY) -m deploy.local --data "$(LOCAL_FOLDER)"

images: ## build the container images of deploy/compose.yaml (docker; RAY=1: inference and attribution with Ray, as VERSION-ray)
	@for name in naming analytics gateway backup; do \
		docker build --file deploy/docker/Dockerfile --target $$name --tag onoma/$$name:$(VERSION) . || exit 1; \
	done
	@for name in inference attribution; do \
		docker build --file deploy/docker/Dockerfile $(if $(RAY),--build-arg RAY=1) --target $$name \
			--tag onoma/$$name:$(VERSION)$(if $(RAY),-ray) . || exit 1; \
	done

test: env web ## run the tests of Python and of the page
	@sh scripts/install-chromium.sh
	cd web && npm test
	@# not loadfile: of tests that share a node id, as schemathesis makes them, it runs one alone
	$(PY) -m pytest -n 2 --dist worksteal -m "not slow and not deploy"

test-slow: env web data ## run the tests that take minutes (the demo's bars among them)
	$(PY) -m pytest -m slow

test-deploy: env ## build the images and run the stack of deploy/compose.yaml as containers (minutes, 10 GB in .cache)
	@sh scripts/install-container-engine.sh
	$(PY) -m pytest -m deploy

wheel: env web ## build what `pip install` takes, into dist, and look whether all is in it
	rm -f dist/onoma-*.whl
	PYTHON=$(PY) sh scripts/build-wheel.sh dist

docs: env ## build the documentation into .cache/docs, with no network; a warning or a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	@echo "it begins at .cache/docs/index.html"

bench: env ## maps a second beside zennit, training beside the plain loop, scores over gRPC (half an hour)
	$(PY) -m tests.bench.excitation
	$(PY) -m tests.bench.excitation --network resnet50
	$(PY) -m tests.bench.training --sample 2
	$(PY) -m tests.bench.serving
	$(PY) -m tests.bench.serving --apart
	$(PY) -m tests.bench.serving --network resnet50 --callers 1 2

bench-gpu: env ## the tests and benchmarks of the science on a GPU, into the folder bench-gpu (a quarter of an hour)
	PYTHON=$(PY) sh scripts/bench-gpu.sh bench-gpu

bench-parts: env ## how well maps point, on synthetic pictures with known parts (an hour)
	$(PY) -m tests.bench.known_parts

bench-analysis: env ## the statistics of a study of the paper's size, of large ones, of hard matchings (PARTS="paper bicliques" for some)
	$(PY) -m tests.bench.analysis $(PARTS)

bench-naming: env ## many simulated annotators on one naming service (minutes; KILLS=100 kills its parts meanwhile)
	$(PY) -m tests.bench.naming_load --kills $(or $(KILLS),0)

bench-page: env web ## the naming page at 20,000 tiles in Chromium (minutes)
	@sh scripts/install-chromium.sh
	$(PY) -m tests.bench.page

screenshots: env web ## take the pictures of the README anew (of the demo's study if there is one)
	@sh scripts/install-chromium.sh
	$(PY) -m tests.web.screenshots --demo $(DEMO_FOLDER)

fuzz: env ## send odd, damaged and random messages to every RPC and route (EXAMPLES=300 of each)
	ONOMA_FUZZ_EXAMPLES=$(or $(EXAMPLES),300) $(PY) -m pytest tests/fuzz --timeout 7200

soak: env ## explain 10,000 pictures and watch the memory (minutes)
	$(PY) -m tests.bench.soak

soak-kills: env ## kill -9 at random over the main job: nothing acknowledged is lost (an hour and more; KILLS=1000)
	$(PY) -m tests.bench.kills --kills $(or $(KILLS),1000)

soak-load: env ## ten minutes of many annotators and of scoring: within the bars, with flat memory
	$(PY) -m tests.bench.load

lint: env web/node_modules/.installed ## check style, types, import rules, security, protos and the page
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/bandit --quiet --recursive onoma services --severity-level medium --skip B608,B704  # ruff's S608 and S704
	scripts/scan-secrets.sh
	.venv/bin/buf lint protos
	.venv/bin/buf format --diff --exit-code protos
	@# what is not committed yet against what is; BREAKS=1 for a change that is meant, before the first release
	$(if $(BREAKS),,.venv/bin/buf breaking protos --against '.git#ref=HEAD,subdir=protos')
	cd web && npm run lint

format: env web/node_modules/.installed ## write code in the house's form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/buf format --write protos
	cd web && npm run format

requirements: env ## compile the pinned requirements anew
	sh scripts/compile-requirements.sh

clean: ## remove everything that was built (not onoma-data, -demo, -local)
	rm -rf .venv .cache onoma/web web/node_modules build dist *.egg-info
	find onoma/v1 onoma/open_inference -type f ! -name __init__.py -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

data:
	@sh scripts/fetch-fashion-mnist.sh "$(DEMO_FOLDER)/fashion-mnist"

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv # also where one was cut off
	@echo "installing what requirements/dev.txt lists, torch among it: some minutes and 7 GB"
	$(PY) -m pip install --quiet --no-compile -r requirements/dev.txt
	@$(PY) -m compileall -q -q -j 0 .venv/lib || true # as pip would, on all cores; files of other Pythons do not compile
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STUBS): .venv/.installed $(wildcard protos/onoma/*/*.proto)
	$(PY) -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. protos/onoma/*/*.proto
	@touch $@

web/node_modules/.installed: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(PAGE): web/node_modules/.installed services/gateway/openapi.json $(WEB_SOURCES)
	cd web && npm run build
	@touch $@
