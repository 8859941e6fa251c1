# chaos: build, test and run. Every target installs the Debian packages it misses, as root or through sudo.
#
#   make demo    boot a real Xen host in QEMU and show chaos at work
#   make test    every test, unit and integration
#   make help    the other targets

SHELL := /bin/bash
PREFIX ?= /usr/local
PROGRAMS := chaosd chaos-backend chaos-bench chaos-cni chaos-netavark
# Static, so that the programs run in any dom0 and start fast; stripped, because page faults are start-up time.
STATIC := -c release --static-swift-stdlib -Xswiftc -static-executable -Xlinker -s
# chaos is built without the Swift runtime, whose start alone takes longer than all that chaos does.
SWIFT_LIBRARIES = $(shell swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p')
EMBEDDED = -c release --scratch-path .build/embedded -Xswiftc -wmo -Xlinker -lm -Xlinker -s \
  -Xswiftc -enable-experimental-feature -Xswiftc Embedded -Xswiftc -Xclang-linker -Xswiftc -static \
  -Xlinker $(SWIFT_LIBRARIES)/embedded/$(shell uname -m)-unknown-linux-gnu/libswiftUnicodeDataTables.a
FUZZ_SECONDS ?= 10
ROUNDS ?= 1000
CLIENT_SECONDS ?= 300

.PHONY: help demo test unit integration fuzz soak build bench images fmt lint docs install deb packages clean

help:
	@echo 'make demo         boot a Xen host in QEMU, start chaosd, create guests and show them answering'
	@echo 'make test         every test: unit, fuzz ($(FUZZ_SECONDS) s a target) and integration'
	@echo 'make unit         the unit tests'
	@echo 'make integration  the tests that run on real Xen in the box'
	@echo 'make fuzz         the fuzz targets, FUZZ_SECONDS each (default 300 here)'
	@echo 'make soak         hours: ROUNDS random operations and kills, CLIENT_SECONDS of clients, 10 minutes a fuzz target'
	@echo 'make build        the programs, static, in .build/release'
	@echo 'make images       the unikernels, in images/build'
	@echo 'make bench        measure on an otherwise idle machine'
	@echo 'make fmt, lint    format the Swift code, check its format'
	@echo 'make docs         man pages and shell completions, in .build/docs'
	@echo 'make deb          Debian packages, in .build/deb'
	@echo 'make install      into PREFIX (default /usr/local), DESTDIR respected'

demo: packages build images
	box/demo

test: packages lint unit
	@# The fuzz targets' modules are compiled one after another: beside them is a processor for the rest.
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target fuzz-short deb
	@$(MAKE) --no-print-directory integration

unit:
	Tests/unit

.PHONY: fuzz-short
fuzz-short:
	Fuzz/run --seconds $(FUZZ_SECONDS)

fuzz: packages
	Fuzz/run --seconds $(if $(filter command line,$(origin FUZZ_SECONDS)),$(FUZZ_SECONDS),300)

integration: packages build images deb
	Tests/Integration/run

soak: packages build images
	Tests/Integration/soak --rounds $(ROUNDS) --seconds $(CLIENT_SECONDS) \
	  --fuzz-seconds $(if $(filter command line,$(origin FUZZ_SECONDS)),$(FUZZ_SECONDS),600)

build: packages
	@for program in $(PROGRAMS); do swift build $(STATIC) --product $$program || exit 1; done
	@swift build $(EMBEDDED) --product chaos
	@install -D .build/embedded/release/chaos .build/release/chaos

images: packages
	images/build.sh

bench: packages build images
	box/bench

fmt:
	swift format --in-place --recursive Package.swift Sources Tests images Fuzz

lint:
	swift format lint --strict --recursive Package.swift Sources Tests images Fuzz

docs: build
	packaging/docs .build/docs

install: build images docs
	packaging/install '$(DESTDIR)' '$(PREFIX)'

# Debian packages, in .build/deb. The scripts of debian/ do the rest: a Debian developer's dpkg-buildpackage -b works, too.
deb: build images docs
	packaging/deb .build/deb

packages:
	@box/install-packages

clean:
	swift package clean
	rm -rf images/build
