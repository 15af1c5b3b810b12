# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# cpu or gpu: which ONNX Runtime the server is installed with.
DEVICE ?= cpu

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c .ci/constraints.txt
CLIENT := -e "client[tiff,hdf5]"
SERVER := -e "server[$(DEVICE),demo]"
PYPROJECTS := client/pyproject.toml models/pyproject.toml server/pyproject.toml .ci/constraints.txt .ci/install.py

# One worker of tests more than cores: much of the time tests wait.
WORKERS = $(shell expr $$(nproc) + 1)
# Each of the many processes that tests start would compile its modules again.
test check all-tests fast-tests: export PYTHONDONTWRITEBYTECODE =
# Every core has a test of its own to work on.
test check all-tests fast-tests: export OMP_NUM_THREADS = 1

# Modules are compiled on all cores, once. Those that are left out are compiled when they are imported; some
# packages hold modules for other Pythons, which fail.
NEVER_IMPORTED := /(tests?|testing|_inductor|rllib)/

.PHONY: demo dev test check all-tests fast-tests lint bench peers gpu clean light-bundle generalist-bundle segmentation-bundle audit fuzz chaos soak napari

demo: $(VENV)/.installed  ## Stream the sample movie through a real server; results in demo/
	$(BIN)/dimstream-server demo --out demo

test: dev  ## Lint and every test, at once, on all cores
	@$(MAKE) --no-print-directory -j 2 lint all-tests

all-tests: dev
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

check: dev  ## Lint and the fast tests, at once: for every change
	@$(MAKE) --no-print-directory -j 2 lint fast-tests

fast-tests: export DIMSTREAM_HYPOTHESIS = check
fast-tests: dev
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow" --durations=10

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --package dimstream_client --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

bench: dev  ## What the service adds, and how fast training is; results in bench/
	$(BIN)/dimstream-server bench --out bench
	$(BIN)/dimstream-train bench --out bench/training $(if $(filter gpu,$(DEVICE)),--device cuda)

# Other servers on the same frames, each in an environment of its own under .venv-peers (1 GB): ten minutes.
peers: dev
	PYTHONPATH=tests $(BIN)/python -m peers --out peers

# Of its own: ONNX Runtime with CUDA and without cannot be in one.
GPU_VENV := .venv-gpu

gpu:  ## On a machine with an NVIDIA card: its tests and benchmarks, one report in gpu/, in under ten minutes
	$(MAKE) --no-print-directory VENV=$(GPU_VENV) DEVICE=gpu dev
	PYTHONPATH=tests $(GPU_VENV)/bin/python -m gpu_run --out gpu

# To install without this checkout: the wheels, the versions that were tested, and the model that ships as one file.
DIST ?= dist

dist: $(VENV)/.installed
	rm -rf $(DIST)/*.whl $(DIST)/*.zip
	$(PIP) "hatchling>=1.27,<2"
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir $(DIST) ./client ./models ./server
	cp .ci/constraints.txt $(DIST)/constraints.txt
	$(BIN)/python -c 'from dimstream_models import bundle, shipped; \
		bundle.pack_bundle(shipped.shipped_bundle(), "$(DIST)/er-sted-light.zip")'
	@ls $(DIST)

# Random faults over one run, which must be as undisturbed: about half an hour. Full disks want root.
SEED ?= 1
FAULTS ?= 100

chaos: dev
	PYTHONPATH=tests $(BIN)/python -m faults.chaos --seed $(SEED) --faults $(FAULTS) --out chaos

# The paper's run, and whether anything grows: half an hour as fast as it goes, or SOAK_HOURS by the clock.
soak: dev
	PYTHONPATH=tests $(BIN)/python -m faults.soak $(if $(SOAK_HOURS),--hours $(SOAK_HOURS)) --out soak

# Trains the model that ships again: about an hour on two cores, resumable. Its figures want the shared data.
SHIPPED := models/src/dimstream_models/shipped/er-sted-light
LIGHT := $(BIN)/dimstream-train export runs/er-sted-light \
	--documentation models/recipes/er-sted-light.md --out $(SHIPPED)
COMPARE := $(BIN)/dimstream-train compare $(SHIPPED)
DATA := $(or $(DIMSTREAM_SHARED),../shared)/data
SIM := $(DATA)/14_sim_er_sted
REAL := area1:area002_001 area2:area002_002 area3:area002_003 syt1:syt_triggered_001 syt2:syt_control_002

light-bundle: dev
	$(BIN)/dimstream-train fit models/recipes/er-sted-light.yaml --run runs/er-sted-light
	$(LIGHT)
	for kind in pairs movie; do $(COMPARE) --name $$kind --noisy $(SIM)/$${kind}_low.tif \
		--truth $(SIM)/$${kind}_truth_x100.tif --truth-factor 0.01 --out runs/er-sted-light/$$kind.json || exit 1; done
	for movie in $(REAL); do $(COMPARE) --name $${movie%:*} --noisy $(DATA)/06_sted_live_movies/$${movie#*:}.tif \
		--out runs/er-sted-light/$${movie%:*}.json || exit 1; done
	$(LIGHT) $(foreach name,pairs movie area1 area2 area3 syt1 syt2,--quality runs/er-sted-light/$(name).json)
	OMP_NUM_THREADS=1 $(BIN)/dimstream-train error-bar $(SHIPPED)
	$(BIN)/dimstream-train calibrate $(SHIPPED) --precision bf16 --simulated

# Trains the generalist that ships beside it again, from its weights: an hour on two cores, resumable.
GENERALIST := models/src/dimstream_models/shipped/generalist-sted-light
GENERALIST_RUN := runs/generalist-sted-light
GENERALIST_EXPORT := $(BIN)/dimstream-train export $(GENERALIST_RUN) \
	--documentation models/recipes/generalist-sted-light.md --out $(GENERALIST)
GENERALIST_COMPARE := $(BIN)/dimstream-train compare $(GENERALIST)

generalist-bundle: dev
	$(BIN)/dimstream-train fit models/recipes/generalist-sted-light.yaml --from $(SHIPPED) --run $(GENERALIST_RUN)
	$(GENERALIST_EXPORT)
	for kind in pairs movie; do $(GENERALIST_COMPARE) --name $$kind --noisy $(SIM)/$${kind}_low.tif \
		--truth $(SIM)/$${kind}_truth_x100.tif --truth-factor 0.01 --out $(GENERALIST_RUN)/$$kind.json || exit 1; done
	for movie in $(REAL); do $(GENERALIST_COMPARE) --name $${movie%:*} \
		--noisy $(DATA)/06_sted_live_movies/$${movie#*:}.tif --out $(GENERALIST_RUN)/$${movie%:*}.json || exit 1; done
	$(GENERALIST_EXPORT) $(foreach name,pairs movie area1 area2 area3 syt1 syt2,--quality $(GENERALIST_RUN)/$(name).json)
	OMP_NUM_THREADS=1 $(BIN)/dimstream-train error-bar $(GENERALIST)
	$(BIN)/dimstream-train calibrate $(GENERALIST) --precision bf16 --simulated
	$(BIN)/dimstream-train stress $(GENERALIST) --out $(GENERALIST_RUN)/stress

# Trains the network that ships for segmentation: half an hour on two cores, resumable.
SEGMENTER := models/src/dimstream_models/shipped/er-segmenter-light

segmentation-bundle: dev
	$(BIN)/dimstream-train segment --run runs/er-segmenter-light \
		--documentation models/recipes/er-segmenter-light.md --out $(SEGMENTER)

# How right the flags of the model that ships are: six to fifteen minutes. Its recorded movies are the shared data.
SIGNAL := $(addprefix $(DATA)/06_sted_live_movies/,area002_001.tif area002_002.tif area002_003.tif \
	syt_control_002.tif syt_triggered_001.tif) $(SIM)/movie_low.tif
DARK := $(addprefix $(DATA)/11_dark_noise/,camera_bg0.tif camera_bg2.tif apd_late_gate.tif) $(SIM)/movie_dark.tif

audit: dev
	$(BIN)/dimstream-train audit $(SHIPPED) --signal $(SIGNAL) --dark $(DARK) --out audit

# Strangers' bytes by the million, guided by what they reach; a minute for each decoder. Finds lie in fuzz/.
FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.installed-fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python tests/fuzz/fuzzing.py

# The napari plugin in a real napari under a virtual display (Debian: xvfb, libxcb-cursor0 and others, see
# docs/napari.md). Its packages take 1.4 GB, so they have an environment of their own.
NAPARI := .venv-napari

napari: $(NAPARI)/.installed
	$(NAPARI)/bin/npe2 validate dimstream-client
	DIMSTREAM_NAPARI=1 DIMSTREAM_SHOW=1 xvfb-run --auto-servernum $(NAPARI)/bin/pytest -o filterwarnings=default tests/napari_plugin

$(NAPARI)/.installed: .ci/napari-requirements.txt client/pyproject.toml server/pyproject.toml models/pyproject.toml
	$(PYTHON) -m venv $(NAPARI)
	$(NAPARI)/bin/python -m pip --disable-pip-version-check install --quiet -e "client[tiff,napari]" -e models \
		-e "server[cpu]" -r .ci/napari-requirements.txt
	@touch $@

dev: $(VENV)/.installed-dev  ## Everything, the training package (torch) included

clean:
	rm -rf $(VENV) $(GPU_VENV) .venv-peers demo bench peers gpu dist audit fuzz chaos soak

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(PYPROJECTS)
	@echo "Installing dimstream into $(VENV) (once, about a minute) ..."
	$(PIP) $(CLIENT) -e models $(SERVER)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python $(PYPROJECTS) .ci/dev-requirements.txt
	@echo "Installing dimstream with its training package and the test tools into $(VENV) (once, some minutes) ..."
	$(BIN)/python .ci/install.py -c .ci/constraints.txt -e "client[tiff,micromanager]" -e "models[train,analysis,movie,msr,ray,tensorboard,openvino]" -e "server[$(DEVICE),demo,openvino]" -r .ci/dev-requirements.txt
	@$(BIN)/python -m compileall -qq -j 0 -x '$(NEVER_IMPORTED)' $(VENV)/lib || true
	@touch $(VENV)/.installed $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev .ci/fuzz-requirements.txt
	$(PIP) -r .ci/fuzz-requirements.txt
	@touch $@
