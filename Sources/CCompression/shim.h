// The libraries that libarchive unpacks with, for what it does not tell of a stream: see PackedStream.swift.
#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

// Macros that Swift does not see.
static const uint32_t lzma_tell_missing_checks = LZMA_TELL_NO_CHECK | LZMA_TELL_UNSUPPORTED_CHECK;
