import CardWriting
import Glibc
import StationLinux
import Synchronization

/// A card in memory whose faults a test scripts: what it ignores, where it wraps, what its reader's cache answers.
///
/// `@unchecked Sendable` because everything that changes is touched under the lock only.
final class MemoryMedium: CardMedium, @unchecked Sendable {
    enum Kind: String, Sendable { case identity, write, read, synchronise, discard }

    /// One request as the script sees it.
    struct Request: Sendable {
        var kind: Kind
        var offset: UInt64
        var count: Int
        /// Counted from 0 within its kind.
        var number: Int
        /// The first byte of what is written.
        var firstByte: UInt8 = 0
        var isAllZero = false

        var end: UInt64 { offset + UInt64(count) }
        func touches(_ range: Range<UInt64>) -> Bool { offset < range.upperBound && end > range.lowerBound }
    }

    /// What becomes of a request.
    enum Answer: Sendable {
        case perform
        case fail(Int32)
        /// Only so many bytes go through, and that is said.
        case short(Int)
        /// All of it goes through, and less is said.
        case understated(Int)
        /// Nothing happens, and success is said.
        case pretend
    }

    /// What lies behind the end of a card that claims too much.
    enum Beyond: Sendable { case wraps, limbo }

    typealias Script = @Sendable (Request, MemoryMedium) -> Answer

    private let lock = Mutex(())
    private let script: Script
    private let store: UnsafeMutableRawBufferPointer
    private var other: UnsafeMutableRawBufferPointer?

    // What the script and the set-up of a test may change.
    var identityNow: MediumIdentity
    /// What the card really holds.
    var realByteCount: UInt64?
    var beyond = Beyond.wraps
    /// Writes that touch these bytes leave them as they are.
    var ignoredWrites: Range<UInt64>?
    /// Bits that read wrong, by offset.
    var wrongBits: [UInt64: UInt8] = [:]
    /// A bit that goes wrong on its way with the next write that covers it.
    var spoilsNextWrite: UInt64?
    /// How much the reader's cache answers, of what was written or read last.
    var cacheByteCount = 0
    /// Whether another card is in the reader now; its bytes are elsewhere.
    private(set) var isExchanged = false
    private(set) var log: [Request] = []

    private var counts: [Kind: Int] = [:]
    private var cache: [Int: (stamp: Int, bytes: [UInt8])] = [:]
    private var recent: [(block: Int, stamp: Int)] = []
    private var recentHead = 0
    private var stamp = 0
    private var otherWritten: UInt64 = 0

    init(byteCount: Int, sequence: UInt64 = 7, script: @escaping Script = { _, _ in .perform }) {
        self.script = script
        let isLarge = byteCount > 200 << 20
        store =
            isLarge
            ? UnsafeMutableRawBufferPointer(start: calloc(byteCount, 1), count: byteCount)
            : .allocate(byteCount: byteCount, alignment: 4096)
        identityNow = MediumIdentity(sequence: sequence, byteCount: UInt64(byteCount))
        if !isLarge { fillStale() }
    }

    deinit {
        store.deallocate()
        other?.deallocate()
    }

    // MARK: For tests, while no job runs or from the script

    var byteCount: Int { store.count }

    /// Bytes of another card that a job wrote: there must never be one.
    var bytesWrittenToOther: UInt64 { lock.withLock { _ in otherWritten } }

    /// How many requests of a kind there were.
    func count(of kind: Kind) -> Int { lock.withLock { _ in counts[kind, default: 0] } }

    func bytes(_ range: Range<Int>) -> [UInt8] { Array(UnsafeRawBufferPointer(store)[range]) }

    func put(_ bytes: [UInt8], at offset: Int) {
        bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: store[offset...]).copyMemory(from: $0) }
    }

    /// Whether the medium holds these bytes at an offset.
    func holds(_ bytes: [UInt8], at offset: Int) -> Bool {
        guard let base = store.baseAddress, offset + bytes.count <= store.count else { return false }
        return bytes.withUnsafeBytes { wanted in
            guard let other = wanted.baseAddress else { return true }
            return memcmp(base + offset, other, wanted.count) == 0
        }
    }

    /// Whether these bytes come from the medium itself, behind any cache, when they are read from an offset on.
    func shows(_ bytes: [UInt8], at offset: Int) -> Bool {
        var there = [UInt8](repeating: 0, count: bytes.count)
        there.withUnsafeMutableBytes { loadFromMedium($0, at: UInt64(offset)) }
        return there == bytes
    }

    func isZero(_ range: Range<UInt64>) -> Bool {
        let part = store[Int(range.lowerBound)..<Int(range.upperBound)]
        guard let first = part.first, let base = part.base.baseAddress else { return true }
        let start = base + part.startIndex
        return first == 0 && memcmp(start, start + 1, part.count - 1) == 0
    }

    /// A boot signature or a GPT header, at whatever geometry, in the first MiB.
    var hasTable: Bool {
        let head = bytes(0..<min(1 << 20, byteCount))
        if head[510] == 0x55, head[511] == 0xAA { return true }
        return [512, 1024, 2048, 4096].contains { head[$0..<$0 + 8].elementsEqual("EFI PART".utf8) }
    }

    var marker: Marker? { bytes(0..<4096).withUnsafeBytes { Marker($0) } }

    /// Another card comes into the reader; descriptors go on working, on the other card.
    func exchange(byteCount: UInt64? = nil) {
        if other == nil {
            let fresh = UnsafeMutableRawBufferPointer.allocate(byteCount: store.count, alignment: 4096)
            fill(fresh, 0xC3)
            other = fresh
        }
        isExchanged = true
        identityNow.sequence += 1
        if let byteCount { identityNow.byteCount = byteCount }
    }

    func exchangeBack() { isExchanged = false }

    /// A pattern that says where it belongs, with a table in front: an earlier life of the card.
    private func fillStale() {
        let piece = 65536
        for start in stride(from: 0, to: store.count, by: piece) {
            let end = min(start + piece, store.count)
            let part = UnsafeMutableRawBufferPointer(rebasing: store[start..<end])
            fill(part, UInt8(truncatingIfNeeded: start / piece &* 5 &+ 0x61) | 1)
            for index in 0..<8 { part[index] = UInt8(truncatingIfNeeded: start >> (8 * index)) }
        }
        store[510] = 0x55
        store[511] = 0xAA
        UnsafeMutableRawBufferPointer(rebasing: store[512..<520]).copyBytes(from: Array("EFI PART".utf8))
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer, _ byte: UInt8) {
        if let base = buffer.baseAddress { memset(base, Int32(byte), buffer.count) }
    }

    // MARK: CardMedium

    func identity() throws(SystemError) -> MediumIdentity {
        let answer = lock.withLock { _ -> Result<MediumIdentity, SystemError> in
            if case .fail(let number) = ask(.identity, 0, 0) {
                return .failure(SystemError("ioctl", "card", number: number))
            }
            return .success(identityNow)
        }
        return try answer.get()
    }

    func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        let answer = lock.withLock { _ -> Result<Int, SystemError> in
            switch ask(.write, offset, buffer.count, buffer) {
            case .fail(let number): return .failure(SystemError("write", "card", number: number))
            case .short(let count):
                landing(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: offset)
                return .success(count)
            case .understated(let count):
                landing(buffer, at: offset)
                return .success(count)
            case .pretend:
                if cacheByteCount > 0 { cacheUpdate(buffer, at: Int(offset)) }
                return .success(buffer.count)
            case .perform:
                landing(buffer, at: offset)
                return .success(buffer.count)
            }
        }
        return try answer.get()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        let answer = lock.withLock { _ -> Result<Int, SystemError> in
            switch ask(.read, offset, buffer.count) {
            case .fail(let number): return .failure(SystemError("read", "card", number: number))
            case .short(let count), .understated(let count):
                load(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
                return .success(count)
            case .pretend: return .success(buffer.count)
            case .perform:
                load(buffer, at: offset)
                return .success(buffer.count)
            }
        }
        return try answer.get()
    }

    func synchronise() throws(SystemError) {
        let answer = lock.withLock { _ -> Result<Void, SystemError> in
            if case .fail(let number) = ask(.synchronise, 0, 0) {
                return .failure(SystemError("fsync", "card", number: number))
            }
            return .success(())
        }
        try answer.get()
    }

    func discard(at offset: UInt64, count: UInt64) throws(SystemError) {
        let answer = lock.withLock { _ -> Result<Void, SystemError> in
            if case .fail(let number) = ask(.discard, offset, Int(count)) {
                return .failure(SystemError("ioctl", "card", number: number))
            }
            // What was discarded is anything: here it is what nobody wrote.
            fill(UnsafeMutableRawBufferPointer(rebasing: store[Int(offset)..<Int(offset + count)]), 0xD7)
            return .success(())
        }
        try answer.get()
    }

    private func ask(_ kind: Kind, _ offset: UInt64, _ count: Int, _ buffer: UnsafeRawBufferPointer? = nil) -> Answer {
        var request = Request(kind: kind, offset: offset, count: count, number: counts[kind, default: 0])
        if let buffer, let base = buffer.baseAddress, buffer.count > 1 {
            request.firstByte = buffer[0]
            request.isAllZero = buffer[0] == 0 && memcmp(base, base + 1, buffer.count - 1) == 0
        }
        counts[kind, default: 0] += 1
        if kind != .identity { log.append(request) }
        return script(request, self)
    }

    // MARK: The medium

    private func landing(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) {
        if isExchanged {
            otherWritten += UInt64(buffer.count)
            if let other { UnsafeMutableRawBufferPointer(rebasing: other[Int(offset)...]).copyMemory(from: buffer) }
            return
        }
        if cacheByteCount > 0 { cacheUpdate(buffer, at: Int(offset)) }
        segments(offset, buffer.count) { physical, start, count in
            guard let physical else { return }
            var part = physical..<physical + count
            var from = start
            if let ignored = ignoredWrites {
                // What comes before the ignored part, and what comes behind it.
                let before = part.clamped(to: 0..<Int(ignored.lowerBound))
                copyIn(buffer, from + before.lowerBound - part.lowerBound, before)
                let behind = part.clamped(to: min(Int(ignored.upperBound), store.count)..<store.count)
                from += behind.lowerBound - part.lowerBound
                part = behind
            }
            copyIn(buffer, from, part)
        }
        spoil(offset..<offset + UInt64(buffer.count))
    }

    private func spoil(_ request: Range<UInt64>) {
        guard let offset = spoilsNextWrite, request.contains(offset) else { return }
        store[Int(offset)] ^= 0x10
        spoilsNextWrite = nil
    }

    private func copyIn(_ buffer: UnsafeRawBufferPointer, _ start: Int, _ part: Range<Int>) {
        guard !part.isEmpty else { return }
        UnsafeMutableRawBufferPointer(rebasing: store[part]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: buffer[start..<start + part.count]))
    }

    private func load(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        if isExchanged, let other {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: other[Int(offset)..<Int(offset) + buffer.count]))
            return
        }
        guard cacheByteCount > 0 else { return loadFromMedium(buffer, at: offset) }
        var done = 0
        while done < buffer.count {
            let position = Int(offset) + done
            let block = position / 4096
            let within = position % 4096
            let count = min(4096 - within, buffer.count - done)
            let bytes = cachedBlock(block)
            bytes.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: $0[within..<within + count]))
            }
            done += count
        }
    }

    private func loadFromMedium(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        segments(offset, buffer.count) { physical, start, count in
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + count])
            if let physical {
                part.copyMemory(from: UnsafeRawBufferPointer(rebasing: store[physical..<physical + count]))
            } else {
                fill(part, 0)
            }
        }
        for (position, bits) in wrongBits where position >= offset && position < offset + UInt64(buffer.count) {
            buffer[Int(position - offset)] ^= bits
        }
    }

    /// Cuts a range where the real card ends; nil stands for nowhere.
    private func segments(_ offset: UInt64, _ count: Int, _ body: (Int?, Int, Int) -> Void) {
        guard let real = realByteCount.map({ Int($0) }) else { return body(Int(offset), 0, count) }
        var done = 0
        while done < count {
            let position = Int(offset) + done
            if beyond == .limbo, position >= real { return body(nil, done, count - done) }
            let physical = position % real
            let piece = min(count - done, real - physical)
            body(physical, done, piece)
            done += piece
        }
    }

    // MARK: The reader's cache

    private func cachedBlock(_ block: Int) -> [UInt8] {
        if let found = cache[block] {
            keep(block, found.bytes)
            return found.bytes
        }
        var bytes = [UInt8](repeating: 0, count: min(4096, store.count - block * 4096))
        bytes.withUnsafeMutableBytes { loadFromMedium($0, at: UInt64(block * 4096)) }
        keep(block, bytes)
        return bytes
    }

    private func cacheUpdate(_ buffer: UnsafeRawBufferPointer, at offset: Int) {
        var done = 0
        while done < buffer.count {
            let position = offset + done
            let within = position % 4096
            let count = min(4096 - within, buffer.count - done)
            var bytes = count == 4096 ? [UInt8](repeating: 0, count: 4096) : cachedBlock(position / 4096)
            let part = UnsafeRawBufferPointer(rebasing: buffer[done..<done + count])
            bytes.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[within..<within + count]).copyMemory(from: part)
            }
            keep(position / 4096, bytes)
            done += count
        }
    }

    private func keep(_ block: Int, _ bytes: [UInt8]) {
        stamp += 1
        cache[block] = (stamp, bytes)
        recent.append((block, stamp))
        while cache.count > cacheByteCount / 4096, recentHead < recent.count {
            let oldest = recent[recentHead]
            recentHead += 1
            if cache[oldest.block]?.stamp == oldest.stamp { cache[oldest.block] = nil }
        }
    }
}
