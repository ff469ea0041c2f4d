# An index of the scripts; the logic is in them.

.PHONY: benchmark build deb fuzz test torture try lint dependencies

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

deb:
	packaging/build-deb

fuzz:
	packaging/fuzz

benchmark:
	packaging/benchmark

torture:
	packaging/torture
