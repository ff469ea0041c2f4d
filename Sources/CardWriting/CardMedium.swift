package import StationLinux

/// A card as the job sees it: bytes behind requests that may fail. The real one is a block device; tests script others.
package protocol CardMedium: Sendable {
    /// Which medium answers at this moment.
    func identity() throws(SystemError) -> MediumIdentity
    /// One write request; fewer bytes than asked for is a short write.
    func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int
    /// One read request.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int
    /// Puts everything written onto the medium.
    func synchronise() throws(SystemError)
    /// Tells the medium to forget a range.
    func discard(at offset: UInt64, count: UInt64) throws(SystemError)
}

extension BlockDevice: CardMedium {
    package func synchronise() throws(SystemError) { try descriptor.synchronise() }
}
