import StationCore
import Synchronization

/// What one job writes of the image's body and what it leaves out, shared by its threads.
final class Writing: Sendable {
    private struct State {
        var findings: [Survey.Finding]
        /// Of requests whose zeros were left out, those where the probe's blocks were written over: how many bytes that took.
        var blockByteCounts: [Int: UInt64] = [:]
        var contentBytesWritten: UInt64 = 0
        var writtenAgain: [Range<UInt64>] = []
        var rewriteCount = 0
    }

    private let state: Mutex<State>
    private let presumesZeros: Bool
    private let body: Range<UInt64>
    private let requestByteCount: Int

    /// - Parameter probe: its blocks lie in the body, too; what they took the place of is there no more.
    init(_ survey: Survey, body: Range<UInt64>, probe: CapacityProbe, requestByteCount: Int) {
        var findings = survey.body
        for offset in probe.offsets where body.contains(offset) {
            let index = Int(offset - body.lowerBound) / requestByteCount
            if findings[index] == .same { findings[index] = .differs }
        }
        state = Mutex(State(findings: findings))
        presumesZeros = survey.presumesZeros
        self.body = body
        self.requestByteCount = requestByteCount
    }

    private func length(_ index: Int) -> UInt64 {
        min(UInt64(requestByteCount), UInt64(body.count) - UInt64(index) * UInt64(requestByteCount))
    }

    /// What will be written of the body, unless zeros are left out.
    func byteCount() -> UInt64 {
        state.withLock { state in
            state.findings.indices.reduce(0) { sum, index in
                state.findings[index] == .same ? sum : sum + length(index)
            }
        }
    }

    /// The part of the body that is read back after the image's first MiB was written: its last requests, of which so many bytes,
    /// and no more than half of all, are read then. Zeros that were left out are not among these.
    func tail(limit: UInt64) -> (range: Range<UInt64>, readByteCount: UInt64) {
        state.withLock {
            let read = $0.findings.map { $0 != .presumedZero }
            let all = read.indices.reduce(UInt64(0)) { read[$1] ? $0 + length($1) : $0 }
            var left = min(limit, all / 2) / UInt64(requestByteCount)
            var index = read.count
            var byteCount: UInt64 = 0
            while left > 0, index > 0 {
                index -= 1
                guard read[index] else { continue }
                left -= 1
                byteCount += length(index)
            }
            return (
                min(body.lowerBound + UInt64(index * requestByteCount), body.upperBound)..<body.upperBound, byteCount
            )
        }
    }

    /// The least that goes through the reader from the writing of a request to its being read back, in bytes: when the body is
    /// written in its order, and of its tail the zeros that were left out are read before everything else.
    func leastDistance(tail: Range<UInt64>) -> UInt64 {
        state.withLock {
            var readBefore = [UInt64](repeating: 0, count: $0.findings.count)
            var sum: UInt64 = 0
            let split = Int(tail.lowerBound - body.lowerBound + UInt64(requestByteCount) - 1) / requestByteCount
            for index in readBefore.indices where index < split || $0.findings[index] == .presumedZero {
                readBefore[index] = sum
                sum += length(index)
            }
            for index in readBefore.indices where index >= split && $0.findings[index] != .presumedZero {
                readBefore[index] = sum
                sum += length(index)
            }
            var least = UInt64(body.count)
            var writtenBehind: UInt64 = 0
            for (index, finding) in $0.findings.enumerated().reversed() {
                let isWritten = finding == .unknown || finding == .differs
                guard let written = isWritten ? length(index) : $0.blockByteCounts[index] else { continue }
                least = min(least, readBefore[index] + writtenBehind)
                writtenBehind += written
            }
            return least
        }
    }

    /// Of a request by its number in the body.
    func finding(_ index: Int) -> Survey.Finding { state.withLock { $0.findings[index] } }

    /// Of the request that begins at an offset of the card.
    func finding(at offset: UInt64) -> Survey.Finding { finding(Int(offset - body.lowerBound) / requestByteCount) }

    /// Whether a request may be left out because it is zero, as the card is thought to be there.
    func presumesZero(_ index: Int, _ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        presumesZeros && finding(index) == .unknown && bytes.isZero
    }

    /// - Parameter blockByteCount: what was written of it, over blocks of the probe.
    func leaveOut(_ index: Int, blockByteCount: Int) {
        state.withLock {
            $0.findings[index] = .presumedZero
            if blockByteCount > 0 { $0.blockByteCounts[index] = UInt64(blockByteCount) }
        }
    }

    /// Notes that a request, read back, was nothing but zeros.
    func addZero(at offset: UInt64) {
        let index = Int(offset - body.lowerBound) / requestByteCount
        state.withLock { if $0.findings[index] == .presumedZero { $0.findings[index] = .readZero } }
    }

    func add(_ contentBytes: Int) { state.withLock { $0.contentBytesWritten += UInt64(contentBytes) } }

    /// Notes a request that was written after it had been read back wrong. It must be read once more.
    func addLate(_ range: Range<UInt64>, _ contentBytes: Int) {
        let index = Int(range.lowerBound - body.lowerBound) / requestByteCount
        state.withLock {
            $0.writtenAgain.append(range)
            if $0.findings[index] == .presumedZero {
                $0.findings[index] = .differs
                $0.contentBytesWritten += UInt64(contentBytes)
            } else {
                $0.rewriteCount += 1
            }
        }
    }

    /// What was written after it had been read back wrong.
    var writtenAgain: [Range<UInt64>] { state.withLock { $0.writtenAgain } }
    /// How many requests of it had been written before.
    var rewriteCount: Int { state.withLock { $0.rewriteCount } }
    /// Bytes of content that were written, each counted once.
    var contentBytesWritten: UInt64 { state.withLock { $0.contentBytesWritten } }
}
