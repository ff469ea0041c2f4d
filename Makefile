# An index of the scripts; the logic is in them.

.PHONY: benchmark build test try lint install uninstall dependencies

build:
	packaging/build

dependencies:
	packaging/dependencies

try:
	packaging/try

test:
	packaging/test

lint:
	packaging/lint

install:
	packaging/install

uninstall:
	packaging/install --uninstall


benchmark:
	packaging/benchmark
