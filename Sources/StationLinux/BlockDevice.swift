import CLinux
import Glibc

/// Which medium a descriptor leads to at this moment.
package struct MediumIdentity: Equatable, Sendable {
    /// The kernel's disk sequence number.
    package var sequence: UInt64
    package var byteCount: UInt64

    package init(sequence: UInt64, byteCount: UInt64) {
        self.sequence = sequence
        self.byteCount = byteCount
    }
}

/// An open block device.
package struct BlockDevice: Sendable {
    package let path: String
    package let descriptor: Descriptor

    /// Opens for reading and keeps everybody else off (`O_RDONLY|O_EXCL`): the authority on whether somebody has it.
    package init(holding path: String) throws(SystemError) {
        self.path = path
        descriptor = try Descriptor(opening: path, O_RDONLY | station_o_excl)
    }

    /// Opens for writing past the page cache (`O_RDWR|O_DIRECT`).
    package init(writing path: String) throws(SystemError) {
        self.path = path
        descriptor = try Descriptor(opening: path, O_RDWR | station_o_direct)
    }

    /// Opens for reading past the page cache (`O_RDONLY|O_DIRECT`).
    package init(reading path: String) throws(SystemError) {
        self.path = path
        descriptor = try Descriptor(opening: path, O_RDONLY | station_o_direct)
    }

    /// The same without regard for the cache; for the build that shows why it matters.
    package init(path: String, descriptor: Descriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    /// Corresponds to `BLKGETDISKSEQ` and `BLKGETSIZE64`.
    package func identity() throws(SystemError) -> MediumIdentity {
        var sequence: UInt64 = 0
        var bytes: UInt64 = 0
        _ = try retrying("BLKGETDISKSEQ", path) { station_block_sequence(descriptor.number, &sequence) }
        _ = try retrying("BLKGETSIZE64", path) { station_block_byte_count(descriptor.number, &bytes) }
        return MediumIdentity(sequence: sequence, byteCount: bytes)
    }

    /// The logical sector, in bytes. Corresponds to `BLKSSZGET`.
    package func sectorByteCount() throws(SystemError) -> Int {
        var bytes: Int32 = 0
        _ = try retrying("BLKSSZGET", path) { station_block_sector_size(descriptor.number, &bytes) }
        return Int(bytes)
    }

    /// The most that the device takes in one request (`max_sectors_kb`), and what it likes a request to be a multiple of; 0
    /// where it has no opinion. Both in bytes. Corresponds to `BLKSECTGET`, which knows no more than 65,535 sectors, and
    /// `BLKIOOPT`.
    package func requestByteCounts() throws(SystemError) -> (largest: Int, optimal: Int) {
        var sectors: UInt16 = 0
        var optimal: UInt32 = 0
        _ = try retrying("BLKSECTGET", path) { station_block_request_sectors(descriptor.number, &sectors) }
        _ = try retrying("BLKIOOPT", path) { station_block_optimal_size(descriptor.number, &optimal) }
        return (Int(sectors) * 512, Int(optimal))
    }

    /// Corresponds to `BLKROGET`.
    package func isReadOnly() throws(SystemError) -> Bool {
        var flag: Int32 = 0
        _ = try retrying("BLKROGET", path) { station_block_is_read_only(descriptor.number, &flag) }
        return flag != 0
    }

    /// Tells the device to forget a range. Corresponds to `BLKDISCARD`; many USB readers answer `EOPNOTSUPP`.
    package func discard(at offset: UInt64, count: UInt64) throws(SystemError) {
        _ = try retrying("BLKDISCARD", path) { station_block_discard(descriptor.number, offset, count) }
    }

    /// One `pwrite`; fewer bytes than asked for are the caller's to judge.
    package func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        try retrying("write", path) { pwrite(descriptor.number, buffer.baseAddress, buffer.count, off_t(offset)) }
    }

    /// One `pread`; fewer bytes than asked for are the caller's to judge.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        try retrying("read", path) { pread(descriptor.number, buffer.baseAddress, buffer.count, off_t(offset)) }
    }
}
