# For GNU make (3.81 and later) and BSD make: only what both understand.
#
#   make            build ./lvm2fs
#   make demo       mount the sample image and look around in it
#   make test       all tests that this machine can run
#   make check      format, vet, linters, the direction of imports, on every platform
#   make race       the tests under the race detector (needs a C compiler)
#   make fuzz       every fuzzer, for FUZZTIME each; models of writing, for MODELSTEPS changes;
#                   CUTSTATES states that power cuts leave of each kind of image, judged by QEMU
#   make bench      speed, as ratios against plain files, dd, lvm2 and (VSLVMMOUNT) libvslvm
#   make install    under DESTDIR and PREFIX
#   make cross      binaries for every platform, into build/
#   make packages   deb, rpm, apk and Arch Linux packages, into build/
#   make dist       a release that builds without a network, with its FreeBSD port and Homebrew formula, into build/

GO ?= go
PREFIX ?= /usr/local
DESTDIR ?=
MANDIR ?= $(PREFIX)/share/man
FUZZTIME ?= 20s
MODELSTEPS ?= 1000000
CUTSTATES ?= 500
RACE ?= ./...
VERSION ?=
ARCH ?= amd64
PLATFORMS = linux/amd64 linux/arm64 freebsd/amd64 freebsd/arm64 darwin/arm64

LINT = build/golangci-lint-v2.15.0
NFPM = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

GITVERSION = git describe --tags --always --dirty 2>/dev/null || echo unknown
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	-ldflags "-X lvm2fs/cli.release=$${VERSION:-`$(GITVERSION)`}"

all: build

build:
	VERSION=$(VERSION); $(BUILD) -o lvm2fs .

demo: build
	sh integration/demo.sh

test: build
	@$(GO) run ./internal/test/testenv/lacks
	$(GO) test -timeout 60m ./...

race: build
	$(GO) test -race -timeout 60m $(RACE)

check: format vet lint tidy

format:
	@echo gofmt -l; test -z "`gofmt -l . | tee /dev/stderr`"

vet:
	@for p in $(PLATFORMS); do echo "go vet for $$p"; \
	GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet ./... || exit 1; done

# golangci-lint holds staticcheck, gofumpt and depguard; see .golangci.yml.
lint: $(LINT)
	@for os in linux freebsd darwin; do echo "golangci-lint for $$os"; \
	GOOS=$$os $(LINT) run ./... || exit 1; done

$(LINT):
	@mkdir -p build
	GOBIN=`pwd`/build $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv build/golangci-lint $(LINT)

tidy:
	$(GO) mod tidy -diff
	$(GO) mod verify

fuzz:
	@for p in `$(GO) list ./...`; do \
	for f in `$(GO) test -list '^Fuzz' $$p | grep '^Fuzz'`; do \
	echo "$$p $$f for $(FUZZTIME)"; \
	$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
	done; done
	LVM2FS_MODEL_STEPS=$(MODELSTEPS) $(GO) test -count 1 -timeout 0 -run '^TestThinVolumesHoldWhatIsWrittenToThem$$' ./lvm2/internal/dm
	LVM2FS_CUT_STATES=$(CUTSTATES) $(GO) test -count 1 -timeout 0 -run '^TestAPowerCutWhileAnImageIsWritten$$' ./layers/vdisk
	LVM2FS_MODEL_STEPS=$(MODELSTEPS) $(GO) test -count 1 -timeout 0 -run '^TestWhereverThePowerGoesTheKernelKnowsWhatIsNotInSync$$' ./layers/md

bench: build
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...
	$(GO) run ./integration/bench

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(MANDIR)/man8 \
	$(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 lvm2fs $(DESTDIR)$(PREFIX)/bin/lvm2fs
	install -m 644 docs/lvm2fs.8 $(DESTDIR)$(MANDIR)/man8/lvm2fs.8
	./lvm2fs completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lvm2fs
	./lvm2fs completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lvm2fs
	./lvm2fs completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lvm2fs.fish

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/lvm2fs $(DESTDIR)$(MANDIR)/man8/lvm2fs.8 \
	$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lvm2fs \
	$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lvm2fs \
	$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lvm2fs.fish

cross:
	@mkdir -p build
	@for p in $(PLATFORMS); do os=$${p%/*} arch=$${p#*/}; echo "build/lvm2fs-$$os-$$arch"; \
	VERSION=$(VERSION); GOOS=$$os GOARCH=$$arch $(BUILD) -o build/lvm2fs-$$os-$$arch . || exit 1; done

# For ARCH; VERSION is a number such as 1.0.
packages: cross
	rm -rf build/root
	$(MAKE) install DESTDIR=build/root PREFIX=/usr VERSION=$(VERSION)
	install -m 755 build/lvm2fs-linux-$(ARCH) build/root/usr/bin/lvm2fs
	@for format in deb rpm apk archlinux; do \
	VERSION=$${VERSION:-0~`$(GITVERSION)`} ARCH=$(ARCH) \
	$(GO) run $(NFPM) package -f packaging/nfpm.yaml -p $$format -t build || exit 1; done

# VERSION is a number such as 1.0; what is committed is released.
dist:
	GO="$(GO)" sh packaging/dist.sh $${VERSION:-$(VERSION)}

clean:
	rm -rf lvm2fs build

.PHONY: all build demo test race check format vet lint tidy fuzz bench install uninstall cross packages dist clean
