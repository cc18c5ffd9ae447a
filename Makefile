# kaname: what people and CI type. Everything needs Go 1.26; the rest is installed by
# scripts/deps.sh when it is missing (Debian, root).

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kaname-tools
LINT_VERSION := v2.15.0
LINT := $(CACHE)/golangci-lint-$(LINT_VERSION)
GO_SOURCES := $(shell find . -name '*.go' -not -path './.git/*' -not -path './node_modules/*') go.mod go.sum

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

.PHONY: build
build: bin/kaname ## build bin/kaname

bin/kaname: $(GO_SOURCES) $(shell find door/console -type f -not -name '*.go')
	@mkdir -p bin
	go build -buildvcs=auto -trimpath -o $@ .

.PHONY: run
run: build ## do the main job on this machine; RELEASE=path|s3://… chooses the input, ONCE=1 exits at the end
	./bin/kaname demo $(if $(RELEASE),--release '$(RELEASE)') $(if $(HOSTS),--hosts '$(HOSTS)') $(if $(ONCE),--once)

.PHONY: test
test: ## install what the tests need, run all of them
	@scripts/deps.sh test
	go test -timeout 20m $(TESTFLAGS) ./...

.PHONY: race
race: ## the tests again, with the race detector and in random order
	@scripts/deps.sh test
	go test -timeout 60m -race -shuffle=on $(TESTFLAGS) ./...

.PHONY: lint
lint: $(LINT) ## vet, golangci-lint, formatting, generated files
	go vet ./...
	$(LINT) config verify
	$(LINT) run ./...
	@scripts/generated.sh

$(LINT):
	@mkdir -p $(CACHE)
	@echo "building golangci-lint $(LINT_VERSION); once, about four minutes"
	go build -modfile=tools/lint/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: fmt
fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

.PHONY: generate
generate: ## write the generated files anew
	go generate ./...

.PHONY: bench
bench: build ## measure, side by side with what others do, into bench/results.json; ONLY=release|zone|mysql, RUN=pattern
	@scripts/deps.sh test
	@mkdir -p bench/out
	go test -run '^$$' -bench . -benchtime 3x $(BENCHFLAGS) $(if $(ONLY),./rib/$(ONLY)/...,./...) | tee bench/out/bench.txt
	go run ./bench $(if $(ONLY),-only '$(ONLY)') $(if $(RUN),-run '$(RUN)')

.PHONY: soak
soak: ## the long tests: crash rounds, lease histories, fuzzing
	@scripts/deps.sh test
	KANAME_SOAK=1 go test -timeout 3h -count=1 $(TESTFLAGS) ./...
	scripts/fuzz.sh

.PHONY: packages
packages: build ## deb and rpm into dist/out
	scripts/packages.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist/out bench/out
