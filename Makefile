# A bare `make` lists the targets.
.DEFAULT_GOAL := help
GO ?= go
FUZZTIME ?= 30s
QEMU ?= qemu-aarch64

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/paretopress, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/paretopress ./cmd/paretopress

test: ## every test
	$(GO) test ./...

race: ## the tests under the race detector (needs a C compiler), without those that run the server
	$(GO) test -race $$($(GO) list ./... | grep -v -E 'internal/(devserver|cli)$$|cmd/')

# Left out are what takes minutes under emulation and the test that executes its own binary.
arm64: ## the tests of what computes, on arm64 under qemu (apt-get install qemu-user; QEMU= on an arm64 machine)
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test $(addprefix -exec ,$(QEMU)) -timeout 20m -skip TestKilledWriters ./internal/kernel ./search ./bank ./prune ./quant ./sparseft
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test $(addprefix -exec ,$(QEMU)) -timeout 20m ./engine -skip \
		'Sharing|Grams|Calibrate|UnderCollection|Fast|Exact|MatchesTransformers|ScoreMatches|OwnTeacher|DeadParts|DropIs|Cancel|Progress|NotFinite|LongWindow'

lint: ## gofmt, vet, import arrows, workflowcheck
	@test -z "$$(git ls-files '*.go' | xargs gofmt -l)" || { git ls-files '*.go' | xargs gofmt -l; exit 1; }
	$(GO) vet ./...
	$(GO) test ./internal/lint
	$(MAKE) --no-print-directory workflowcheck

workflowcheck: ## what a workflow may not do, as Temporal's checker sees it
	$(GO) run go.temporal.io/sdk/contrib/tools/workflowcheck@v0.6.0 -config workflows/workflowcheck.yaml ./workflows/...

generate: ## the assembly of internal/kernel, from its generator
	$(GO) generate ./internal/kernel

histories: ## record the workflow histories that the replay tests read
	$(GO) test ./internal/devserver -run TestRuns -record

fuzz: ## every fuzz test for FUZZTIME
	@for pkg in $$($(GO) list ./engine ./bank ./search ./prune ./quant ./sparseft ./evalworker ./internal/kernel ./internal/hub); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; done

bench: ## benchmarks of the kernels and operators
	$(GO) test -run '^$$' -bench . ./internal/kernel ./internal/obs ./prune ./quant ./sparseft ./search

peers: ## the pinned Python environment of bench/peers, in .venv
	python3 -m venv .venv && .venv/bin/pip install -r bench/peers/requirements.txt

# GGML_NATIVE off: built for a CPU with AMX it crashed in llama_decode. What the options turn on every CPU with AVX2 has.
LLAMA_CMAKE ?= -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF
llama: ## llama.cpp with its Python interface, built from PyPI's source in .venv-llama (needs a C++ compiler, takes minutes)
	python3 -m venv .venv-llama && CMAKE_ARGS="$(LLAMA_CMAKE)" .venv-llama/bin/pip install -r bench/peers/requirements-llama.txt

conformance: peers llama build ## files decoded and scored beside the gguf package, llama.cpp and transformers (PARETOPRESS_SMOLLM2 names the .gguf file)
	.venv/bin/python bench/peers/conformance.py --model "$(PARETOPRESS_SMOLLM2)" --text "$$($(GO) env GOROOT)/src/testdata/Isaac.Newton-Opticks.txt" \
		--paretopress bin/paretopress --llama .venv-llama/bin/python --work .venv/conformance

golden: peers ## the scores of SmolLM2 in engine/testdata, anew by transformers (PARETOPRESS_SMOLLM2 names the .gguf file)
	.venv/bin/python bench/peers/golden_scores.py --model "$(PARETOPRESS_SMOLLM2)" --text "$$($(GO) env GOROOT)/src/testdata/Isaac.Newton-Opticks.txt" \
		--drop model.layers.4.self_attn model.layers.10.mlp model.layers.21.self_attn --out engine/testdata/smollm2_scores.json

check-gguf: peers ## files of package export, read by the gguf package (LLAMA=--llama: and by llama-cpp-python, if it is installed in .venv)
	rm -rf .venv/gguf && mkdir .venv/gguf
	PARETOPRESS_GGUF_OUT="$(CURDIR)/.venv/gguf" $(GO) test -count=1 ./export -run 'TestMixtures|TestDrops|TestTokenizers|TestAdapters'
	.venv/bin/python bench/peers/check_gguf.py $(LLAMA) .venv/gguf/*.gguf

speed: peers ## the forward pass beside PyTorch's, in alternating rounds (PARETOPRESS_SMOLLM2 names the .gguf file)
	$(GO) test -c -o .venv/engine.test ./engine
	.venv/bin/python bench/peers/time_forward.py --model "$(PARETOPRESS_SMOLLM2)" --engine .venv/engine.test

speed-matmul: peers ## matrix products beside PyTorch's on one thread, in alternating rounds
	$(GO) test -c -o .venv/kernel.test ./internal/kernel
	.venv/bin/python bench/peers/time_matmul.py --kernel .venv/kernel.test

speed-search: peers ## a search's candidates beside EvoPress's own loop (EVOPRESS names a clone, PARETOPRESS_SMOLLM2 the .gguf file)
	$(GO) test -c -o .venv/evalworker.test ./evalworker
	.venv/bin/python bench/peers/time_search.py --model "$(PARETOPRESS_SMOLLM2)" --text "$$($(GO) env GOROOT)/src/testdata/Isaac.Newton-Opticks.txt" \
		--evopress "$(EVOPRESS)" --evalworker .venv/evalworker.test

large: build ## a 7B model of random weights in LARGE (28 GB of disk): imported, two candidates evaluated, exported, with the memory that took
	$(GO) run ./bench/largemodel -out "$(LARGE)/model"
	head -c 4000 README.md > "$(LARGE)/text"
	for t in rtn-4b-g64 q8_0; do for l in $$(seq 0 31); do for m in self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj mlp.gate_proj mlp.up_proj mlp.down_proj; do \
		echo "model.layers.$$l.$$m: $$t"; done; done > "$(LARGE)/$$t.config"; \
		bin/paretopress eval --model "$(LARGE)/model" --text "$(LARGE)/text" --seq-len 128 --max-seqs 2 --config "$(LARGE)/$$t.config" --cache-memory 0 --json || exit 1; done
	bin/paretopress export --model "$(LARGE)/model" --text "$(LARGE)/text" --config "$(LARGE)/q8_0.config" --cache-memory 0 --seq-len 128 --max-seqs 1 --out "$(LARGE)/q8_0.gguf" --json

ci: ## what CI runs
	.ci/run

.PHONY: help build test race arm64 lint workflowcheck generate histories fuzz bench peers llama conformance golden check-gguf speed speed-matmul speed-search large ci
