GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILT    ?= $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null))
FUZZTIME ?= 10s
ARGS     ?=
TRIALS   ?= TestRegionOfFive|TestRegionFailover|TestRegionWithoutZooKeeper|TestTryRegion|TestMixed$$|TestMixedTransactions
SITE     ?=
KEYS     ?=
# Every binary is built with these words. Nothing in it speaks HTTP/2, which takes half a megabyte.
COMPILE   = $(GO) build -trimpath -buildvcs=false -tags nethttpomithttp2 -ldflags "-s -w -X main.version=$(VERSION) -X main.built=$(BUILT)"
MKIMAGE   = $(GO) run ./firmware/cmd/mkimage -go "$(GO)" -headwater bin/headwater-linux-arm64 -version "$(VERSION)" $(if $(BUILT),-time $(BUILT)) \
		$(if $(SITE),-site "$(SITE)") $(if $(KEYS),-keys "$(KEYS)") -zst $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help run region build arm64 binaries container deb firmware firmware-rpi test footprint check fuzz bench interop trials boxtrials regionbench

help: ## list what make can do
	@awk -F ': .*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build and start a standalone appliance, with data in ./data (ARGS="--log.level=debug")
	bin/headwater serve --data.dir=./data --data.allowVolatile $(ARGS)

region: build ## start a region here: ZooKeeper, two hubs and a gateway, with data in ./data/region; says what to type
	.ci/needs java zookeeper.jar && $(GO) build -o bin/tryregion ./appliance/e2e/tryregion && exec bin/tryregion $(ARGS)

build: ## build bin/headwater, static
	CGO_ENABLED=0 $(COMPILE) -o bin/headwater ./appliance/cmd/headwater

arm64:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(COMPILE) -o bin/headwater-linux-arm64 ./appliance/cmd/headwater

firmware: arm64 ## build the image for arm64 machines with UEFI, bin/headwater-arm64.img and .zst (SITE=file KEYS=file VERSION=1.2.3)
	.ci/needs mke2fs apt-get dpkg-deb && $(MKIMAGE) -o bin/headwater-arm64.img

firmware-rpi: arm64 ## build the image for a Raspberry Pi, bin/headwater-rpi.img and .zst (as firmware)
	.ci/needs mke2fs apt-get dpkg-deb && $(MKIMAGE) -machine rpi -o bin/headwater-rpi.img

binaries: ## build bin/linux/*/headwater for amd64, arm64, ARMv7 and ARMv6, static
	for target in amd64 arm64 armv7 armv6; do arch=$${target%v?} arm=$${target#armv}; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch GOARM=$${arm#$$target} \
		$(COMPILE) -o bin/linux/$$target/headwater ./appliance/cmd/headwater || exit; done

container: ## build the container image with docker, podman or buildah (ENGINE, TAG=headwater, VERSION)
	if command -v $(GO) >/dev/null; then $(MAKE) --no-print-directory binaries; fi
	VERSION=$(VERSION) BUILT=$(BUILT) .ci/container $(TAG)

deb: binaries ## make Debian packages of bin/linux/: amd64, arm64, armhf, and ARMv6 for the oldest Raspberry Pis
	$(GO) run ./appliance/cmd/mkdeb -version $(VERSION) -date $(or $(BUILT),0)

test: ## run all Go tests, after getting what they need
	.ci/needs $(GO) kcat mkfs.ext4 java zookeeper.jar dpkg-deb sgdisk fsck.vfat mcopy unsquashfs && $(GO) test ./...

check: ## gofumpt, vet, staticcheck, and the tests with the race detector
	.ci/needs $(GO) kcat mkfs.ext4 java zookeeper.jar gcc dpkg-deb sgdisk fsck.vfat mcopy unsquashfs && .ci/check

fuzz: ## crash the log in 30,000 histories, then run each fuzz test for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

bench: build ## run the benchmarks, hold the broker against the machine (headwater bench) and the bridge against nats-server and mosquitto, print the footprint
	$(GO) test -run '^$$' -bench . ./... && bin/headwater bench && $(GO) run ./appliance/e2e/footprint && \
		.ci/needs mosquitto && $(GO) run ./appliance/e2e/bridgebench

footprint: ## measure binaries, memory and starts, and hold them against docs/FOOTPRINT.md
	$(GO) run ./appliance/e2e/footprint -limits docs/FOOTPRINT.md

interop: build ## run the whole appliance against real clients, kills, power cuts and flipped bits, a region, and boxtrials
	.ci/needs $(GO) kcat mkfs.ext4 java javac mvn python3 node npm mosquitto_pub zookeeper.jar ip nft tc && HEADWATER_POWERCUT_ROUNDS=100 HEADWATER_KILL_ROUNDS=200 HEADWATER_TRUTH_ROUNDS=100 HEADWATER_TRUTH_CUTS=20 HEADWATER_HOSTILE_ACKS=200 HEADWATER_FLIPS=1000 \
		$(GO) test -count=1 -p 1 -parallel 4 -timeout 30m -tags interop $$($(GO) list -tags interop ./appliance/e2e/... | grep -vE '/e2e/(region|boot|container|debian|firmware)$$')
	$(GO) test -count=1 -timeout 15m -tags interop -run '$(TRIALS)' ./appliance/e2e/region
	HEADWATER_MODEL_SEEDS=5000 $(GO) test -count=1 -timeout 15m -v -run '^TestRegion$$' ./broker/modelcheck
	$(MAKE) --no-print-directory boxtrials

trials: build ## run what faults do to a region of headwater, of stock Kafka and of both (40 min; HEADWATER_REGION_MINUTES, HEADWATER_REGION_SEED)
	.ci/needs $(GO) kcat mkfs.ext4 java javac mvn zookeeper.jar ip nft tc && $(GO) test -count=1 -v -timeout 0 -tags interop ./appliance/e2e/region

boxtrials: build ## run the container, the packages, PID 1 and the firmware image, in engines and emulated machines
	.ci/needs $(GO) kcat podman runc qemu-aarch64-static qemu-arm-static mkfs.ext4 mkfs.xfs mkfs.btrfs dpkg-deb systemd-analyze \
		ip nft dnsmasq chronyd sgdisk mke2fs mcopy unsquashfs qemu-system-aarch64 QEMU_EFI.fd && HEADWATER_FIRMWARE_CUTS=20 \
		$(GO) test -count=1 -p 2 -timeout 60m -tags interop ./appliance/e2e/firmware ./appliance/e2e/container ./appliance/e2e/boot ./appliance/e2e/debian

regionbench: ## measure a region of three brokers beside one of stock Kafka (ARGS="-rounds 1 -only Kafka")
	.ci/needs $(GO) java mvn zookeeper.jar && $(GO) run ./appliance/e2e/regionbench $(ARGS)
