GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s
ARGS     ?=
TRIALS   ?= TestRegion$$|TestRegionFailover|TestRegionWithoutZooKeeper|TestTryRegion

.DEFAULT_GOAL := help
.PHONY: help run region build binaries container deb test footprint check fuzz bench interop trials regionbench

help: ## list what make can do
	@awk -F ': .*## ' '/^[a-z]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build and start a standalone appliance, with data in ./data (ARGS="--log.level=debug")
	bin/headwater serve --data.dir=./data --data.allowVolatile $(ARGS)

region: build ## start a region here: ZooKeeper, two hubs and a gateway, with data in ./data/region; says what to type
	.ci/needs java zookeeper.jar && $(GO) build -o bin/tryregion ./appliance/e2e/tryregion && exec bin/tryregion $(ARGS)

build: ## build bin/headwater, static
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/headwater ./appliance/cmd/headwater

binaries: ## build bin/linux/*/headwater for amd64, arm64, ARMv7 and ARMv6, static
	for target in amd64 arm64 armv7 armv6; do arch=$${target%v?} arm=$${target#armv}; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch GOARM=$${arm#$$target} \
		$(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/linux/$$target/headwater ./appliance/cmd/headwater || exit; done

container: ## build the container image with docker, podman or buildah (ENGINE, TAG=headwater, VERSION)
	if command -v $(GO) >/dev/null; then $(MAKE) --no-print-directory binaries; fi
	VERSION=$(VERSION) .ci/container $(TAG)

deb: binaries ## make Debian packages of bin/linux/: amd64, arm64, armhf, and ARMv6 for the oldest Raspberry Pis
	$(GO) run ./appliance/cmd/mkdeb -version $(VERSION) -date $$(git log -1 --format=%ct 2>/dev/null || echo 0)

test: ## run all Go tests, after getting what they need
	.ci/needs $(GO) kcat mkfs.ext4 java zookeeper.jar && $(GO) test ./...

check: ## gofumpt, vet, staticcheck, and the tests with the race detector
	.ci/needs $(GO) kcat mkfs.ext4 java zookeeper.jar gcc && .ci/check

fuzz: ## crash the log in 30,000 histories, then run each fuzz test for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

bench: build ## run the benchmarks, hold the broker against the machine (headwater bench) and the bridge against nats-server and mosquitto, print the footprint
	$(GO) test -run '^$$' -bench . ./... && bin/headwater bench && $(GO) run ./appliance/e2e/footprint && \
		.ci/needs mosquitto && $(GO) run ./appliance/e2e/bridgebench

footprint: ## measure binaries, memory and starts, and hold them against docs/FOOTPRINT.md
	$(GO) run ./appliance/e2e/footprint -limits docs/FOOTPRINT.md

interop: build ## run the whole appliance against real clients and Kafka's own tools, kills, power cuts and flipped bits
	.ci/needs $(GO) kcat mkfs.ext4 java javac mvn python3 node npm mosquitto_pub zookeeper.jar ip nft tc \
		podman runc qemu-aarch64-static qemu-arm-static mkfs.xfs mkfs.btrfs dpkg-deb systemd-analyze && HEADWATER_POWERCUT_ROUNDS=100 HEADWATER_KILL_ROUNDS=200 HEADWATER_TRUTH_ROUNDS=100 HEADWATER_TRUTH_CUTS=20 HEADWATER_HOSTILE_ACKS=200 HEADWATER_FLIPS=1000 \
		$(GO) test -count=1 -p 1 -parallel 4 -timeout 30m -tags interop $$($(GO) list -tags interop ./appliance/e2e/... | grep -v '/e2e/region$$')
	$(GO) test -count=1 -timeout 15m -tags interop -run '$(TRIALS)' ./appliance/e2e/region

trials: build ## run what faults do to a region of headwater, of stock Kafka and of both (40 min; HEADWATER_REGION_MINUTES, HEADWATER_REGION_SEED)
	.ci/needs $(GO) kcat mkfs.ext4 java javac mvn zookeeper.jar ip nft tc && $(GO) test -count=1 -v -timeout 0 -tags interop ./appliance/e2e/region

regionbench: ## measure a region of three brokers beside one of stock Kafka (ARGS="-rounds 1 -only Kafka")
	.ci/needs $(GO) java mvn zookeeper.jar && $(GO) run ./appliance/e2e/regionbench $(ARGS)
